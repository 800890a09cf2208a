#!/bin/bash
# dracut module: our programs, with a Python of their own, where dracut's module iscsi has put (or
# would put) open-iscsi's. That one reads netroot=iscsi:..., rd.iscsi.* and the firmware's values
# and calls them.

check() {
	[[ -x /usr/lib/open-iscsi/boot-image ]] || return 1
	dracut_module_included iscsi && return 0
	return 255
}

depends() {
	echo iscsi
}

install() {
	local binary binaries library
	binaries=$(/usr/lib/open-iscsi/boot-image "$initdir" iscsistart iscsiadm iscsid iscsi-iname) || {
		dfatal "pyiscsi: the programs could not be put into the image"
		return 1
	}
	for binary in $binaries; do
		inst "$binary" || return 1
		# dracut looks for the libraries of programs only, not of Python's extension modules
		for library in $(ldd "$binary" | grep -o '/[^ ]*'); do
			inst_library "$library" || return 1
		done
	done
	# What the unit does before and after its start is for the machine once it runs.
	inst_simple "$moddir/initramfs.conf" "$systemdsystemunitdir/iscsid.service.d/pyiscsi.conf"
}
