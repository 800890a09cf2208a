"""A machine with the captured sessions, records that fit them, and a stand-in for iscsid."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pyiscsi.ops.context import Context
from pyiscsi.records.record import Record
from pyiscsi.records.schema import NODE
from tests.unit.ops.daemon import FakeDaemon, serving
from tests.unit.sysfs.capture import env_of


def node(target: str, address: str = "127.0.0.1", **values: str) -> Record:
    """A node record; keyword `a__b` stands for key `node.a.b`, `iface__x` for `iface.x`."""
    record = Record(NODE)
    record.set("node.name", target)
    record.set("node.tpgt", "1")
    record.set("node.conn[0].address", address)
    record.set("node.conn[0].port", "3260")
    record.set("iface.iscsi_ifacename", "default")
    record.set("iface.transport_name", "tcp")
    for name, value in values.items():
        key = name.replace("__", ".")
        record.set(key if key.startswith("iface.") else f"node.{key}", value)
    return record


@pytest.fixture
def context(tmp_path: Path, shared_up: Path) -> Iterator[Context]:
    """Sessions 1 and 2 of target one, 3 and 4 of two, 5 of six, 6 of chap (shared, not to be
    written to); no daemon, no way to start one."""
    made = Context(env_of(tmp_path, sysfs_root=str(shared_up / "sys")))
    Path(made.env.config_file).write_text("iscsid.startup = /bin/false\n")
    yield made
    made.drop_client()


@pytest.fixture
def daemon(context: Context) -> Iterator[FakeDaemon]:
    with serving(context.env, FakeDaemon(context.env.config_file)) as running:
        yield running
        context.drop_client()
