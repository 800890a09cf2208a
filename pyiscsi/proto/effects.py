"""What a protocol machine wants done; drivers carry effects out in order."""

from __future__ import annotations

from dataclasses import dataclass, field

from pyiscsi.errors import LoginFailed

Negotiated = dict[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class SendPdu:
    header: bytes
    """Basic header segment, 48 bytes."""
    data: bytes
    """Data segment without padding."""


@dataclass(frozen=True, slots=True)
class LoginResult:
    """Outcome of a login.

    `negotiated` maps RFC 7143 key names to Python values: digests "None" or "CRC32C", numbers,
    booleans. `MaxRecvDataSegmentLength` in it is our own declaration.
    """

    negotiated: Negotiated
    target_portal_group_tag: int | None
    target_alias: str
    tsih: int
    exp_stat_sn: int
    max_xmit_data_segment_length: int
    warnings: tuple[str, ...] = field(default=())
    """What the target did wrong but could be lived with, and weak local settings."""

    def __getitem__(self, key: str) -> str | int | bool:
        return self.negotiated[key]


@dataclass(frozen=True, slots=True)
class LoggedIn:
    result: LoginResult


@dataclass(frozen=True, slots=True)
class Redirect:
    """The target wants the login at another portal (RFC 7143 §11.13.5, class 1)."""

    address: str
    port: int
    permanent: bool


@dataclass(frozen=True, slots=True)
class Failed:
    """The login is over. `retryable` says whether the same attempt may succeed later."""

    error: LoginFailed
    retryable: bool


Effect = SendPdu | LoggedIn | Redirect | Failed
