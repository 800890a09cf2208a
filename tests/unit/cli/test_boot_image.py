"""What goes into an initramfs: that it is enough is shown in tests/boot, by a machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pyiscsi.cli import boot_image


def own(program: str) -> set[str]:
    found: dict[str, set[str]] = {}
    boot_image.own_modules(boot_image.PROGRAMS[program][0], found)
    return set(found)


def test_modules() -> None:
    """Imports inside functions count, and those by a name that is made up."""
    modules = own("iscsistart")
    assert {"pyiscsi.daemon.boot", "pyiscsi.transport.kernel"} <= modules
    assert {"pyiscsi.records.schema_node", "pyiscsi.records.schema_iface"} <= modules
    assert "pyiscsi.daemon.app" not in modules
    assert {"pyiscsi.cli.modes.node", "pyiscsi.cli.modes.session"} <= own("iscsiadm")


def test_image_runs_by_itself(tmp_path: Path) -> None:
    """The programs start with the image's modules alone, where these lie in this machine's places.

    An interpreter that has nothing but what was written answers from there.
    """
    library = Path(boot_image.__file__).parents[2]
    binaries = boot_image.write(tmp_path, ["iscsistart", "iscsiadm"], library)
    assert binaries[0] == Path(sys.executable).resolve()
    assert all(path.is_file() for path in binaries)
    assert not [path for path in tmp_path.rglob("*.so*") if path.is_file()]
    assert not list(tmp_path.rglob("ssl.pyc"))
    assert list(tmp_path.rglob("encodings/punycode.pyc")), "a host's name may need it"
    launcher = (tmp_path / "usr/sbin/iscsistart").read_text().splitlines()
    assert launcher[0] == f"#!{binaries[0]} -IS"
    script = (
        "import sys; image = sys.argv.pop(1);"
        " sys.path[:] = [image + path for path in sys.path if not path.endswith('lib-dynload')]"
        f" + [p for p in sys.path if p.endswith('lib-dynload')] + [image + {str(library)!r}];"
        " from pyiscsi.cli.iscsistart import main; sys.exit(main(['iscsistart', '-v']))"
    )
    shown = subprocess.run(
        [str(binaries[0]), "-IS", "-c", script, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert shown.stdout == "iscsistart version 2.1.8\n"


@pytest.mark.parametrize("words", [[], ["/nowhere", "iscsistart"], ["/", "nothing"], ["/"]])
def test_wrong_calls(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is written without a directory and programs it knows."""
    monkeypatch.setattr(sys, "argv", ["boot-image", *words])
    assert boot_image.main() == 7
    assert capsys.readouterr().err.startswith("usage: boot-image DIRECTORY iscsistart|")
