"""What the initramfs script makes of the kernel's command line; no machine is started."""

from __future__ import annotations

import subprocess

import pytest

from tests.boot import tree

SCRIPT = tree.PROJECT / "etc/initramfs-tools/scripts/local-top/iscsi"
NAMES = (
    *("AUTO", "INITIATOR", "TARGET_NAME", "TARGET_IP", "TARGET_PORT", "TARGET_GROUP"),
    *("USERNAME", "PASSWORD", "IN_USERNAME", "IN_PASSWORD"),
)
IQN = "iqn.2026-11.test:boot:with:colons"


def understood(*words: str) -> dict[str, str]:
    """The settings the script would use, those that are empty left out."""
    functions = SCRIPT.read_text().partition("\nset -f\n")[0]
    shown = "; ".join(f'printf "%s\\n" "$ISCSI_{name}"' for name in NAMES)
    text = f'{functions}\nread_command_line "$@"\n{shown}; printf "%s\\n" "$root_lun"'
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
