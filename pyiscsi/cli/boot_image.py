"""What an initramfs needs to run our programs: an interpreter and the modules they import.

    boot-image DIRECTORY PROGRAM...

writes byte code and launchers below DIRECTORY, the root of the image to be, at the paths they have
here. It prints the interpreter and the extension modules, one path per line, which the caller
copies together with their shared libraries: initramfs-tools and dracut have a function for that.
"""

from __future__ import annotations

import ast
import os
import py_compile
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PACKAGE = "pyiscsi"
OPTIMIZE = 2
"""Neither docstrings nor assertions."""

PROGRAMS = {
    "iscsistart": ("pyiscsi.cli.iscsistart", "main"),
    "iscsiadm": ("pyiscsi.cli.start", "iscsiadm"),
    "iscsid": ("pyiscsi.cli.iscsid", "main"),
    "iscsi-iname": ("pyiscsi.cli.iscsi_iname", "main"),
}
"""Module and function of each program that can be wanted."""

LEFT_OUT = ("_ssl", "_hashlib", "_bz2", "_lzma")
"""Each brings a library, OpenSSL the largest; the standard library has digests of its own."""

IMPORTED_LATE = (
    "concurrent.futures.thread",  # asyncio's threads
    "encodings.ascii",
    "encodings.idna",  # host names
    "encodings.latin_1",
    "encodings.punycode",  # by encodings.idna
    "encodings.utf_8",
    "stringprep",
)
"""What the interpreter imports only when it is used."""

_ASK = """\
import importlib, sys
left_out, wanted, path = sys.argv[1].split(), sys.argv[2].split(), sys.argv[3]
sys.modules.update(dict.fromkeys(left_out))
sys.path.insert(0, path)
for name in wanted:
    try:
        importlib.import_module(name)
    except ImportError:
        pass
for module in list(sys.modules.values()):
    if file := getattr(module, "__file__", None):
        print(file)
"""
"""Asked of an interpreter of its own, which has imported nothing else."""

_LAUNCHER = """\
#!{python} -IS
import sys
sys.path.insert(0, {library!r})
from {module} import {function}
sys.exit({function}())
"""


def own_modules(name: str, found: dict[str, set[str]]) -> None:
    """Add to `found` the package's module `name` and all that it can import, at whatever point.

    The values are the modules of others that each one imports. A module that imports by a name it
    makes up may mean any of its neighbours.
    """
    spec = None if name in found else find_spec(name)
    if spec is None or not spec.origin:
        return
    others = found[name] = set()
    source = Path(spec.origin)
    tree = ast.parse(source.read_bytes())
    names = set(_imports(tree))
    if _imports_by_name(tree):
        package = name.rpartition(".")[0]
        names |= {f"{package}.{path.stem}" for path in source.parent.glob("[!_]*.py")}
        names |= {f"{package}.{path.parent.name}" for path in source.parent.glob("*/__init__.py")}
        modes = source.parent.glob("*/[!_]*.py")
        names |= {f"{package}.{path.parent.name}.{path.stem}" for path in modes}
    for imported in sorted(names):
        if imported.partition(".")[0] != PACKAGE:
            others.add(imported)
        elif _is_module(imported):
            own_modules(imported, found)


def _is_module(name: str) -> bool:
    """Whether a dotted name is a module and not something in one."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _imports_by_name(tree: ast.Module) -> bool:
    names = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    return any(
        (isinstance(name, ast.Name) and name.id == "__import__")
        or (isinstance(name, ast.Attribute) and name.attr == "import_module")
        for name in names
    )


def files(programs: Iterable[str], library: Path) -> list[Path]:
    """Files of every module that the programs can import; `library` is where ours lie.

    Raises subprocess.CalledProcessError.
    """
    found: dict[str, set[str]] = {}
    for program in programs:
        own_modules(PROGRAMS[program][0], found)
    wanted = sorted({*found, *set().union(*found.values()), *IMPORTED_LATE})
    asked = [" ".join(LEFT_OUT), " ".join(wanted), str(library)]
    command = [sys.executable, "-IS", "-c", _ASK, *asked]
    shown = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    own = {spec.origin for name in found if (spec := find_spec(name)) and spec.origin}
    # An interpreter takes the directory that has `os` for its standard library.
    return sorted(map(Path, {*shown.stdout.splitlines(), *own, os.__file__}))


def write(image: Path, programs: Iterable[str], library: Path) -> list[Path]:
    """Fill the image; returns the binaries that it needs besides.

    Raises OSError, PyCompileError, subprocess.CalledProcessError.
    """
    python = Path(sys.executable).resolve()
    binaries = [python, *loaded_late()]
    for path in files(programs, library):
        if path.suffix != ".py":
            binaries.append(path)
            continue
        # Byte code in the place of its source: an image's times of files are not to be relied on.
        target = below(image, path.with_suffix(".pyc"))
        py_compile.compile(str(path), str(target), str(path), doraise=True, optimize=OPTIMIZE)
    for program in programs:
        launcher = below(image, Path("/usr/sbin", program))
        module, function = PROGRAMS[program]
        launcher.unlink(missing_ok=True)  # it may be a link that leads out of the image
        launcher.write_text(
            _LAUNCHER.format(python=python, library=str(library), module=module, function=function)
        )
        launcher.chmod(0o755)
    return binaries


def loaded_late() -> list[Path]:
    """The library that libc loads by itself when a thread ends; no file says that it is needed."""
    import ctypes

    name = "libgcc_s.so.1"
    try:
        ctypes.CDLL(name)
    except OSError:
        return []
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines()}
    return [Path(path) for path in mapped if path.endswith(f"/{name}")]


def below(image: Path, path: Path) -> Path:
    """A path of this machine as the image has it, its directory made."""
    target = image / path.relative_to("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def main() -> int:
    """Run the command; returns the exit status."""
    image, *programs = sys.argv[1:] or ("",)
    unknown = [program for program in programs if program not in PROGRAMS]
    if not os.path.isdir(image) or not programs or unknown:
        known = "|".join(PROGRAMS)
        print(f"usage: boot-image DIRECTORY {known}...", file=sys.stderr)
        return 7
    try:
        binaries = write(Path(image), programs, Path(__file__).resolve().parents[2])
    except (OSError, py_compile.PyCompileError, subprocess.CalledProcessError) as error:
        print(f"boot-image: {error}", file=sys.stderr)
        return 1
    for path in binaries:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
