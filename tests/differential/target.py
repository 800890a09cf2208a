"""A target for discovery whose answer is the content of a file, read at each connection.

    python -m tests.differential.target FILE

Listens on 127.0.0.1, 127.0.0.2 and ::1, port 3260, and prints a line once it does.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from pathlib import Path

from tests.integration.target.script import Script
from tests.integration.target.server import ScriptedTarget

ADDRESSES = ("127.0.0.1", "127.0.0.2", "::1")
PORT = 3260


class FileTarget(ScriptedTarget):
    """`path`: the text of a SendTargets answer, a line for each pair."""

    def __init__(self, path: Path, address: str) -> None:
        self.path = path
        super().__init__(address=address, port=PORT)

    @property
    def script(self) -> Script:
        return Script(text=self.path.read_bytes().replace(b"\n", b"\0"))

    @script.setter
    def script(self, _: Script) -> None:
        """Nothing but the file decides."""


async def serve(path: Path) -> None:
    """Until the process is ended."""
    async with contextlib.AsyncExitStack() as stack:
        for address in ADDRESSES:
            await stack.enter_async_context(FileTarget(path, address))
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
