"""What the initramfs script makes of the kernel's command line; no machine is started."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.boot import tree

SCRIPT = tree.PROJECT / "etc/initramfs-tools/scripts/local-top/iscsi"
NAMES = (
    *("AUTO", "INITIATOR", "TARGET_NAME", "TARGET_IP", "TARGET_PORT", "TARGET_GROUP"),
    *("USERNAME", "PASSWORD", "IN_USERNAME", "IN_PASSWORD"),
)
IQN = "iqn.2026-11.test:boot:with:colons"
FUNCTIONS = SCRIPT.read_text().partition("\nset -f\n")[0]
LIMIT_S = 60

PROGRAM = """\
#!/bin/sh
echo "$@" >> calls
case "$*" in
-f) stat -c %a run/iscsi-firmware >> calls; cat record ;;
*dead*) exec sleep 600 ;;
*bad*) exit 1 ;;
esac
"""
"""Stands for iscsistart, modprobe and ip; notes how it was called."""

RECORD = """\
# BEGIN RECORD 2.1.8
iface.bootproto = STATIC
iface.ipaddress = 192.0.2.9
iface.net_ifacename = ens5
node.session.auth.password = secretsecret12
# END RECORD
"""


def understood(*words: str) -> dict[str, str]:
    """The settings the script would use, those that are empty left out."""
    shown = "; ".join(f'printf "%s\\n" "$ISCSI_{name}"' for name in NAMES)
    text = f'{FUNCTIONS}\nread_command_line "$@"\n{shown}; printf "%s\\n" "$root_lun"'
    done = subprocess.run(
        ["sh", "-c", text, "", *words], stdout=subprocess.PIPE, text=True, check=True
    )
    values = zip((*NAMES, "LUN"), done.stdout.split("\n"), strict=False)
    return {name: value for name, value in values if value}


BARE = {"TARGET_IP": "192.0.2.1", "TARGET_NAME": IQN, "LUN": "0"}
ONE_WAY = {"USERNAME": "me", "PASSWORD": "it's a secret"}
CASES = {
    f"root=iscsi:192.0.2.1::::{IQN}": BARE,
    f"root=iscsi:192.0.2.1:6:3261:2:{IQN}": BARE | {"TARGET_PORT": "3261", "LUN": "2"},
    f"root=iscsi:[2001:db8::1]:::1:{IQN}": BARE | {"TARGET_IP": "2001:db8::1", "LUN": "1"},
    f"root=iscsi:me:it's a secret@192.0.2.1::::{IQN}": BARE | ONE_WAY,
    f"root=iscsi:me:it's a secret:you:other@192.0.2.1::::{IQN}": BARE
    | ONE_WAY
    | {"IN_USERNAME": "you", "IN_PASSWORD": "other"},
    f"root=iscsi:1:2:3:4:5@192.0.2.1::::{IQN}": BARE,
    "root=iscsi:192.0.2.1": {},
    f"root=iscsi:::::{IQN}": {},
    "root=UUID=1": {},
    "iscsi_auto": {"AUTO": "true"},
    "iscsi_target_name=a=b": {"TARGET_NAME": "a=b"},
    "iscsi_in_password=*": {"IN_PASSWORD": "*"},
}


@pytest.mark.parametrize("word", CASES)
def test_words(word: str) -> None:
    """Each form of root=iscsi:, complete or not, and the single settings."""
    assert understood("quiet", word, "ip=dhcp") == CASES[word]


def test_every_setting() -> None:
    """All words open-iscsi has."""
    words = [f"iscsi_{name.lower()}=<{name}>" for name in NAMES if name != "AUTO"]
    expected = {name: f"<{name}>" for name in NAMES if name != "AUTO"}
    assert understood(*words) == expected


def played(folder: Path, line: str) -> str:
    """What a line prints that uses the script's functions; the machine's places are in `folder`."""
    (folder / "run").mkdir()
    (folder / "record").write_text(RECORD)
    for name in ("iscsistart", "modprobe", "ip"):
        (folder / name).write_text(PROGRAM)
        (folder / name).chmod(0o755)
    text = FUNCTIONS
    for place in ("/run/", "/etc/", "/sys/"):
        text = text.replace(f" {place}", f" {folder}{place}").replace(
            f"={place}", f"={folder}{place}"
        )
    environ = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-c", f"{text}\n{line}"],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=LIMIT_S,
    )
    return done.stdout


def test_firmware_leaves_no_secret(tmp_path: Path) -> None:
    """The firmware's record, which has the secrets, was for root only and is gone."""
    assert played(tmp_path, 'firmware_network; echo "$firmware_device"') == "ens5\n"
    assert (tmp_path / "calls").read_text().splitlines() == ["-q iscsi_ibft", "-N", "-f", "600"]
    (file,) = (tmp_path / "run").iterdir()
    assert file.name == "net-ens5.conf"
    assert "IPV4ADDR='192.0.2.9'\n" in file.read_text()


@pytest.mark.parametrize("addresses", ["good", "bad dead good", "bad", "[2001:db8::1]"])
def test_paths(tmp_path: Path, addresses: str) -> None:
    """All are tried; a dead one is ended, and the boot goes on."""
    sooner = "sleep() { command sleep 0.05; }"
    settings = "ISCSI_INITIATOR=i ISCSI_TARGET_NAME=t"
    assert (
        played(tmp_path, f"{sooner}; {settings}; log_in {addresses}; echo goes on") == "goes on\n"
    )
    asked = sorted(line.split()[7] for line in (tmp_path / "calls").read_text().splitlines())
    assert asked == sorted(address.strip("[]") for address in addresses.split())


@pytest.mark.parametrize("end", ["", "\n"])
def test_initiator_name(tmp_path: Path, end: str) -> None:
    """From the file, whether or not its last line is ended."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/initiatorname.iscsi").write_text(f"# ours\nInitiatorName=iqn.x:i{end}")
    assert played(tmp_path, 'initiator_name; echo "$ISCSI_INITIATOR"') == "iqn.x:i\n"
