"""What a restarted daemon must still know and the kernel can't tell it.

Which sessions discoveryd logged in to, and which automatic logins are still awaited. The file lies
in /run, so a reboot forgets it, as it forgets the sessions. Writing there can't stall: it is
memory.
"""

from __future__ import annotations

import json
import logging
import os

from pyiscsi.env import Env
from pyiscsi.names import NodeKey

_log = logging.getLogger("iscsid")


def state_file(env: Env) -> str:
    """Beside the native socket: `/run/iscsid.state`."""
    return f"{os.path.splitext(env.socket_path)[0]}.state"


class RunState:
    """Both lists; every change is written at once. A file that can't be read is an empty one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self.owned: dict[int, tuple[str, NodeKey]] = {}
        """Session id to the discovery address (`ADDRESS,PORT`) that led to it, and its key."""
        self.awaited: set[NodeKey] = set()

    def load(self) -> None:
        try:
            with open(self._path, encoding="utf-8", errors="surrogateescape") as file:
                found = json.load(file)
            self.owned = {int(sid): (source, _key(key)) for sid, source, key in found["owned"]}
            self.awaited = {_key(key) for key in found["awaited"]}
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError) as error:
            _log.warning("%s: ignored: %s", self._path, error)

    def own(self, sid: int, source: str, key: NodeKey) -> None:
        self.owned[sid] = (source, key)
        self._save()

    def disown(self, sid: int) -> None:
        if self.owned.pop(sid, None) is not None:
            self._save()

    def wait_for(self, key: NodeKey) -> None:
        self.awaited.add(key)
        self._save()

    def no_longer_wait_for(self, key: NodeKey) -> None:
        if key in self.awaited:
            self.awaited.remove(key)
            self._save()

    def _save(self) -> None:
        content = {
            "owned": [(sid, source, _fields(key)) for sid, (source, key) in self.owned.items()],
            "awaited": [_fields(key) for key in sorted(self.awaited, key=_fields)],
        }
        temporary = f"{self._path}.new"
        try:
            with open(temporary, "w", encoding="utf-8", errors="surrogateescape") as file:
                json.dump(content, file, ensure_ascii=False)
            os.replace(temporary, self._path)
        except OSError as error:
            _log.error("%s: %s", self._path, error)


def _fields(key: NodeKey) -> tuple[str, str, int, int, str]:
    return key.target, key.address, key.port, key.tpgt, key.iface


def _key(fields: list[object]) -> NodeKey:
    target, address, port, tpgt, iface = fields
    if not (isinstance(port, int) and isinstance(tpgt, int)):
        raise TypeError("port and tag must be numbers")
    return NodeKey(str(target), str(address), port, tpgt, str(iface))
