"""A small iSCSI target for tests: answers logins and SendTargets, and misbehaves as told."""

from tests.integration.target.script import ChapPolicy, Faults, Script
from tests.integration.target.server import ScriptedTarget

__all__ = ["ChapPolicy", "Faults", "Script", "ScriptedTarget"]
