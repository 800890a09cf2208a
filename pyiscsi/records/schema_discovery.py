"""Fields of SendTargets and iSNS discovery records, in their file order (open-iscsi usr/idbm.c).

Row: key, type, 2.1.8 default (None: 2.1.8 has no such key), limit, flags, default of the `master`
format where it differs. Limit is the most bytes kept of a string, or the values of an enum.
Flags: K looks the record up and cannot be changed; S secret; H hidden, never written;
O not known to open-iscsi, only in records where it is set; X iscsid.conf has no effect on it;
4 and 6 only in records of that address family.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyiscsi.records.schema import Row

_TYPES = ("sendtargets", "isns", "offload_send_targets", "slp", "static", "fw")

SENDTARGETS: tuple[Row, ...] = (
    ("discovery.startup", "enum", "manual", ("manual", "automatic"), "X"),
    ("discovery.type", "enum", "sendtargets", _TYPES, "K"),
    ("discovery.sendtargets.address", "string", "", 255, "K"),
    ("discovery.sendtargets.port", "int32", "0", None, "K"),
    ("discovery.sendtargets.auth.authmethod", "enum", "None", ("None", "CHAP")),
    ("discovery.sendtargets.auth.username", "string", "", 255),
    ("discovery.sendtargets.auth.password", "string", "", 255, "S"),
    ("discovery.sendtargets.auth.password_length", "int32", "0", None, "H"),
    ("discovery.sendtargets.auth.username_in", "string", "", 255),
    ("discovery.sendtargets.auth.password_in", "string", "", 255, "S"),
    ("discovery.sendtargets.auth.password_in_length", "int32", "0", None, "H"),
    ("node.session.auth.chap_algs", "enum_list", "MD5", ("MD5", "SHA1", "SHA256", "SHA3-256")),
    ("discovery.sendtargets.timeo.login_timeout", "int32", "15"),
    ("discovery.sendtargets.use_discoveryd", "bool", "No"),
    ("discovery.sendtargets.discoveryd_poll_inval", "int32", "30"),
    ("discovery.sendtargets.reopen_max", "int32", "5"),
    ("discovery.sendtargets.timeo.auth_timeout", "int32", "45"),
    ("discovery.sendtargets.timeo.active_timeout", "int32", "30"),
    ("discovery.sendtargets.iscsi.MaxRecvDataSegmentLength", "int32", "32768"),
    ("discovery.sendtargets.allowed_portals", "string", "", 255, "O"),
)

ISNS: tuple[Row, ...] = (
    ("discovery.startup", "enum", "manual", ("manual", "automatic"), "X"),
    ("discovery.type", "enum", "isns", _TYPES, "K"),
    ("discovery.sendtargets.address", "string", "", 255, "K"),
    ("discovery.sendtargets.port", "int32", "0", None, "K"),
    ("discovery.isns.use_discoveryd", "bool", "No"),
    ("discovery.isns.discoveryd_poll_inval", "int32", "-1"),
    ("discovery.isns.allowed_portals", "string", "", 255, "O"),
)
