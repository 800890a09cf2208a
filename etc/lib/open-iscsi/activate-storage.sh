#!/bin/sh
# After the login at boot: volume groups, and without systemd also what /etc/fstab marks _netdev.
PATH=/usr/sbin:/sbin:/usr/bin:/bin
LVMGROUPS=
HANDLE_NETDEV=1
[ ! -f /etc/default/open-iscsi ] || . /etc/default/open-iscsi

if [ -n "$LVMGROUPS" ] && ! command -v vgchange > /dev/null; then
	echo "Warning: LVMGROUPS is set, but LVM is not installed." >&2
	LVMGROUPS=
fi
# systemd mounts when a disk appears: nothing has to be waited for.
if [ -d /run/systemd/system ] && [ -z "$LVMGROUPS" ]; then
	exit 0
fi

# Disks are there once udev has settled; partitions follow, and multipathd makes its maps at its
# second try, a second later. Nothing tells when all have come.
udevadm settle
if command -v multipath > /dev/null; then sleep 3; else sleep 1; fi
udevadm settle

if [ -n "$LVMGROUPS" ]; then
	vgchange -ay $LVMGROUPS || echo "Warning: not all of $LVMGROUPS could be activated." >&2
	udevadm settle
fi
if [ ! -d /run/systemd/system ] && [ "$HANDLE_NETDEV" = 1 ]; then
	mount -a -O _netdev > /dev/null 2>&1
	swapon -a -e > /dev/null 2>&1
fi
exit 0
