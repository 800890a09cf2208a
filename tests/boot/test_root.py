"""The root disk on iSCSI: what an initramfs gets, and a machine that lives on such a disk."""

from __future__ import annotations

import shutil

import pytest

from tests.boot import test_boot, tree

pytestmark = pytest.mark.usefixtures("_guest_can_run")
_guest_can_run = test_boot._guest_can_run


def test_root_on_iscsi() -> None:
    """iscsistart, out of an image, logs in to the root disk; systemd starts from it.

    The daemon takes the boot's session over. It is killed and restarted, and the target goes and
    comes back, once with the daemon killed meanwhile, while a program reads and writes the root
    disk all the time. The shutdown leaves the file system clean and the session alone.
    """
    image = tree.fresh("root-image") / "image"
    boot = test_boot.Boot("root", "rootdisk", "systemd", image=image)
    shutil.rmtree(image.parent)
    test_boot.is_clean(boot.out / "disk")
    assert (boot.out / "sessions").read_text().startswith("session")
    assert "Synchronizing SCSI cache" not in (boot.out / "dmesg").read_text()
