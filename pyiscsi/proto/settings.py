"""What a login is asked to do: settings of one attempt, fixed while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ChapSettings:
    """CHAP credentials; secrets stay out of repr.

    `algorithms` are names of the record database (MD5, SHA1, SHA256, SHA3-256), best first.
    """

    username: str
    password: str = field(repr=False)
    username_in: str = ""
    password_in: str = field(default="", repr=False)
    algorithms: tuple[str, ...] = ("MD5",)

    @property
    def mutual(self) -> bool:
        """Whether the target must prove itself too."""
        return bool(self.username_in or self.password_in)


@dataclass(frozen=True, slots=True)
class LoginSettings:
    """Everything the login machine needs to know. Lengths are bytes, times seconds.

    `header_digest` and `data_digest` are the value lists of RFC 7143 §13.1, best first. `cmd_sn`
    and `initiator_task_tag` matter only where we move the PDUs ourselves: the kernel overwrites
    both, so with a tag of None the tags of answers are not compared.
    """

    initiator_name: str
    target_name: str
    isid: bytes
    initiator_alias: str = ""
    discovery: bool = False
    auth: ChapSettings | None = None
    header_digest: str = "None"
    data_digest: str = "None"
    max_recv_data_segment_length: int = 262144
    max_xmit_data_segment_length: int = 0
    """0 takes what the target declares; anything else is an upper bound to it."""
    first_burst_length: int = 262144
    max_burst_length: int = 16776192
    initial_r2t: bool = False
    immediate_data: bool = True
    max_outstanding_r2t: int = 1
    default_time2wait: int = 2
    default_time2retain: int = 0
    exp_stat_sn: int = 0
    rdma: bool = False
    cmd_sn: int = 0
    initiator_task_tag: int | None = None
