"""What a scripted target is and does wrong. Steps count the requests of one connection from 1."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pyiscsi.proto.text import Pair


@dataclass(frozen=True)
class ChapPolicy:
    """Whom the target lets in, and how it proves itself. Algorithms are CHAP_A codes."""

    username: str
    password: str
    own_username: str = ""
    own_password: str = ""
    algorithms: tuple[str, ...] = ("5", "6", "7", "8")
    challenge: bytes = b"0123456789abcdef"
    identifier: int = 77


@dataclass(frozen=True)
class Faults:
    """Everything the target can do wrong; by default nothing."""

    drop_at: int | None = None
    """Close the connection in place of answering this step."""
    silent_from: int | None = None
    """Answer nothing from this step on."""
    byte_by_byte: bool = False
    """Send every byte on its own."""
    status: Mapping[int, tuple[int, int]] = field(default_factory=dict)
    """Step to status class and detail of the login response."""
    redirects: tuple[tuple[int, str | None], ...] = ()
    """For the first, second, ... connection: status detail and TargetAddress (None: none sent)."""
    redirect_for_ever: tuple[int, str] | None = None
    """Status detail and TargetAddress for every connection; `{port}` stands for our own port."""
    extra_pairs: Mapping[int, tuple[Pair, ...]] = field(default_factory=dict)
    """Step to keys added to its answer."""
    overrides: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)
    """Step to header fields of its answer that are replaced (csg, nsg, initiator_task_tag, ...)."""
    login_part: int = 0
    """Bytes of text per login response, the C bit set on all but the last; 0: whole."""
    raw: Mapping[int, bytes] = field(default_factory=dict)
    """Step to bytes sent in place of its answer."""
    endless_text: bool = False
    """Text responses never end."""
    fail_connections: int = 0
    """Close this many first connections without a word."""


@dataclass(frozen=True)
class Script:
    """A target. `answers` replaces operational answers by key; None leaves the key unanswered.

    `text` is the whole SendTargets answer, `text_part` how much of it goes into one response.
    """

    text: bytes = b"TargetName=iqn.2026-11.test:one\0TargetAddress=127.0.0.1:3260,1\0"
    text_part: int = 8192
    chap: ChapPolicy | None = None
    answers: Mapping[str, str | None] = field(default_factory=dict)
    alias: str = "scripted"
    portal_group_tag: str = "1"
    digests: tuple[str, ...] = ("None",)
    on_request: Callable[[int, Any], None] | None = None
    """Called with (step, decoded request) before the answer."""
    faults: Faults = field(default_factory=Faults)
