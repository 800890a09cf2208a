"""Serve misbehaving targets, each on a port of its own.

    python -m tests.target [--portal ADDRESS:PORT] [--release-after SECONDS] BEHAVIOUR...
    python -m tests.target --list

Logins need CHAP with the name `user` and the secret `secret-secret`. What a behaviour does in full
feature phase begins some seconds after the login. A discovery at any of the portals finds all. One
line for each target is printed when all of them listen: behaviour, target name, portal.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.target.behaviours import BEHAVIOURS
from tests.target.running import serving


async def serve(names: list[str], address: str, port: int, release_after_s: float) -> None:
    """Until the process is ended."""
    async with serving(names, address, port, release_after_s=release_after_s) as targets:
        for target in targets:
            print(target.behaviour.name, target.iqn, f"{address}:{target.port}", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.target")
    parser.add_argument("--portal", default="127.0.0.1:3260", metavar="ADDRESS:PORT")
    parser.add_argument("--release-after", type=float, default=1.0, metavar="SECONDS")
    parser.add_argument("--list", action="store_true", help="print the behaviours")
    parser.add_argument("behaviour", nargs="*", choices=[*BEHAVIOURS, []], metavar="BEHAVIOUR")
    options = parser.parse_args()
    if options.list or not options.behaviour:
        print("".join(f"{name:20} {each.about}\n" for name, each in BEHAVIOURS.items()), end="")
        return
    address, _, port = options.portal.rpartition(":")
    asyncio.run(serve(options.behaviour, address, int(port), options.release_after))


if __name__ == "__main__":
    main()
