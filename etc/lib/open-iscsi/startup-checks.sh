#!/bin/sh
# Before iscsid starts: its configuration is there, and the machine has an initiator name. A name
# file with the line GenerateName=yes gets a new name. Status 1 and the reason otherwise.
PATH=/usr/sbin:/sbin:/usr/bin:/bin
names=/etc/iscsi/initiatorname.iscsi
settings=/etc/iscsi/iscsid.conf

fail() {
	echo "Error: $*" >&2
	exit 1
}

[ -e $settings ] || fail "$settings is missing, iscsid cannot start."
[ -f $names ] || fail "$names is missing, iscsid cannot start; iscsi-gen-initiatorname makes it."

if grep -q '^GenerateName=yes' $names; then
	iscsi-gen-initiatorname -f -p iqn.1993-08.org.debian:01 ||
		fail "no initiator name could be made, iscsid cannot start."
fi
grep -q '^InitiatorName=[^[:space:]]' $names ||
	fail "$names has no line InitiatorName=NAME, iscsid cannot start."
