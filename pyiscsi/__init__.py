"""An iSCSI initiator for Linux: iscsiadm, iscsid, iscsistart and iscsi-iname."""

__version__ = "0.1.0"

INTERFACE_VERSION = "2.1.8"
"""The open-iscsi release whose command line, output and record files this package implements.

Programs that parse `iscsiadm -V` or the header of a record compare this number.
"""
