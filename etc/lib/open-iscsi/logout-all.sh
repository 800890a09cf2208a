#!/bin/sh
# Before shutdown: log out of all sessions but those that umountiscsi.sh wrote to
# /run/open-iscsi/shutdown-keep-sessions, one sysfs directory per line. Status 1 without iscsid.
PATH=/usr/sbin:/sbin:/usr/bin:/bin
keep=/run/open-iscsi/shutdown-keep-sessions
pid_file=/run/iscsid.pid
ISCSI_ROOT_KEEP_ALL_SESSIONS_AT_SHUTDOWN=0
[ ! -f /etc/default/open-iscsi ] || . /etc/default/open-iscsi

if [ -f /etc/iscsi/iscsi.initramfs ] && [ "$ISCSI_ROOT_KEEP_ALL_SESSIONS_AT_SHUTDOWN" = 1 ]; then
	exit 0
fi
set -- /sys/class/iscsi_session/session*
[ -e "$1" ] || exit 0
if [ ! -s $pid_file ] || ! kill -0 "$(sed -n 1p $pid_file)" 2> /dev/null; then
	echo "iscsid is not running: no logout." >&2
	exit 1
fi
if [ ! -s $keep ]; then
	iscsiadm -m node --logoutall=all
	exit
fi

status=0
for class; do
	session=$(readlink -f "$class/device")
	grep -qxF -e "$session" $keep || iscsiadm -m session -r "$session" --logout || status=1
done
exit $status
