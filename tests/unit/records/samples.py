"""Records the tests of this room share."""

from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE, SENDTARGETS

PORTAL = "10.0.0.1,3260,1"


def node(target="iqn.a", address="10.0.0.1", port=3260, tpgt=1, iface="default", **values):
    """A node record; keyword values use `__` for `.` and are set as they are."""
    record = Record(NODE)
    record.values |= {
        "node.name": target,
        "node.conn[0].address": address,
        "node.conn[0].port": str(port),
        "node.tpgt": str(tpgt),
        "iface.iscsi_ifacename": iface,
    }
    record.values |= {key.replace("__", "."): text for key, text in values.items()}
    return record


def from_portal(portal, portal_port=3260, type_="send_targets", **identity):
    """A node record that a discovery of the given portal found."""
    record = node(**identity)
    record.values |= {
        "node.discovery_type": type_,
        "node.discovery_address": portal,
        "node.discovery_port": str(portal_port),
    }
    return record


def listed(store):
    """The keys of all records, in the order of the listing."""
    return store.keys()


def sendtargets(address="10.0.0.1", port=3260):
    record = Record(SENDTARGETS)
    record.values["discovery.sendtargets.address"] = address
    record.values["discovery.sendtargets.port"] = str(port)
    return record


HAND_WRITTEN = """node.name = iqn.a
node.conn[0].address = 10.0.0.1
node.session.cmds_max = 64
"""
