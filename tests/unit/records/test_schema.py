"""The field tables against those recorded from open-iscsi."""

import pytest

from pyiscsi.records import schema
from pyiscsi.records.record import Record

KINDS = {
    "node": schema.NODE,
    "iface": schema.IFACE,
    "discovery_sendtargets": schema.SENDTARGETS,
    "discovery_isns": schema.ISNS,
    "host_chap_out": schema.HOST_CHAP_OUT,
    "host_chap_in": schema.HOST_CHAP_IN,
    "flashnode": schema.FLASHNODE,
}
STORED = ("node", "iface", "discovery_sendtargets", "discovery_isns")
FORMATS = ("2.1.8", "master")


@pytest.mark.parametrize("name", KINDS)
def test_fields_equal_the_recorded_ones(tables, name):
    """DB-112, DB-035: type, default, size, words, secrecy and updatability of every key."""
    expected = {f["key"]: f for f in tables["fields"] if f["record"] == name}
    kind = KINDS[name]
    assert {key for key, field in kind.fields.items() if not field.own} == set(expected)
    for key, want in expected.items():
        field = kind.fields[key]
        assert field.type == want["type"], key
        assert field.default == want["default"]["2.1.8"], key
        assert field.default_master == want["default"]["master"], key
        assert field.max_len == want["max_len"], key
        assert list(field.allowed or ()) == (want["allowed"] or []), key
        assert field.secret == (want["visible"] == "masked"), key
        assert field.hidden == (want["visible"] == "hidden"), key
        assert field.can_update == want["can_update"], key
        if want["variants"]:
            assert list(field.variants) == want["variants"], key
        if name in STORED and name != "iface":
            assert field.in_config == want["conf"], key


@pytest.mark.parametrize("fmt", FORMATS)
@pytest.mark.parametrize("name", KINDS)
def test_orders_equal_the_recorded_ones(tables, name, fmt):
    """DB-012, DB-112: order in files and on stdout, both formats and address families."""
    variants = [".ipv4", ".ipv6"] if name in ("node", "iface") else [""]
    for suffix in variants:
        variant = suffix.strip(".") or "ipv4"
        order = tables["orders"][fmt]
        assert KINDS[name].file_order(variant, fmt) == order[f"{name}{suffix}.file"]
        assert KINDS[name].show_order(variant, fmt) == order[f"{name}{suffix}.show"]


def test_keys_fit_the_reader(tables):
    """Every key fits the limits of the file format."""
    limits = tables["limits"]
    for kind in KINDS.values():
        assert len(kind.fields) <= limits["max_keys"]
        assert all(len(key) <= limits["name_max"] for key in kind.fields)


def test_defaults_are_a_copy():
    schema.NODE.defaults("2.1.8")["node.startup"] = "changed"
    assert schema.NODE.defaults("2.1.8")["node.startup"] == "manual"


def test_unknown_format_is_2_1_8():
    """A wrong format setting never makes records that Debian's programs refuse."""
    assert schema.NODE.file_order("ipv4", "nonsense") == schema.NODE.file_order("ipv4", "2.1.8")


@pytest.mark.parametrize(
    ("kind", "name"), [(schema.SENDTARGETS, "sendtargets"), (schema.ISNS, "isns")]
)
def test_a_key_of_our_own_is_there_only_when_set(kind, name):
    """Records of others stay byte for byte what open-iscsi writes and prints."""
    key = f"discovery.{name}.allowed_portals"
    record = Record(kind)
    assert key.encode() not in record.render()
    assert key not in dict(record.shown(secrets=True))
    record.merge([(1, key, "192.0.2.0/24")])
    assert f"{key} = 192.0.2.0/24\n".encode() in record.render()
    assert dict(record.shown(secrets=True))[key] == "192.0.2.0/24"
