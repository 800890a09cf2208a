"""Which endpoint carries which session: nothing in sysfs says it, and a daemon that takes a session
over must give the endpoint back when the session ends. (open-iscsi leaves it behind.)

The file lies in /run, so writing there can't stall and a reboot forgets it.
"""

from __future__ import annotations

import json
import logging
import os

from pyiscsi.daemon.kernel_session import KernelSession
from pyiscsi.env import Env
from pyiscsi.sysfs.sessions import session_ids
from pyiscsi.sysfs.tree import SysfsTree
from pyiscsi.transport.base import Transport
from pyiscsi.transports import traits

log = logging.getLogger("iscsid")

_ENDPOINTS = "class/iscsi_endpoint"


class EndpointNotes:
    """Handles of endpoints by session id; every change is written at once."""

    def __init__(self, path: str, tree: SysfsTree) -> None:
        self._path = path
        self._tree = tree

    @classmethod
    def of(cls, env: Env, tree: SysfsTree) -> EndpointNotes:
        """Beside the native socket: `/run/iscsid.endpoints`."""
        return cls(f"{os.path.splitext(env.socket_path)[0]}.endpoints", tree)

    def note(self, sid: int, endpoint: int) -> None:
        """From now on this endpoint carries the session.

        Sessions that are gone are forgotten, and so is who had an endpoint of this number before.
        """
        living = {*session_ids(self._tree), sid}
        notes = {
            known: handle
            for known, handle in self._read().items()
            if known == sid or (known in living and handle != endpoint)
        }
        if notes.get(sid) == endpoint:
            return
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "w", encoding="ascii") as file:
                json.dump(notes | {sid: endpoint}, file)
            os.replace(temporary, self._path)
        except OSError as error:
            log.error("%s: %s", self._path, error)

    def find(self, sid: int) -> int | None:
        """The endpoint of a session, None when it is not known or no longer there."""
        endpoint = self._read().get(sid)
        base = f"{_ENDPOINTS}/ep-"
        there = endpoint is not None and self._tree.read_int(f"{base}{endpoint}/handle") == endpoint
        return endpoint if there else None

    def _read(self) -> dict[int, int]:
        try:
            with open(self._path, encoding="ascii") as file:
                return {int(sid): int(handle) for sid, handle in json.load(file).items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, AttributeError) as error:
            log.warning("%s: ignored: %s", self._path, error)
            return {}


def take_over(
    notes: EndpointNotes | None, transport: Transport, sid: int, host_no: int
) -> KernelSession:
    """A session found in the kernel, with the endpoint that carries it."""
    kernel = KernelSession.existing(transport, sid, host_no)
    if notes is not None and traits(transport.name).connects:
        endpoint = notes.find(sid)
        if endpoint is not None:
            kernel.hold(endpoint)
    return kernel
