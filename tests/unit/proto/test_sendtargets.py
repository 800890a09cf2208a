"""SendTargets: the exchange and its text (RFC 7143 §11.10, appendix C)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.names import is_discovered_name_valid
from pyiscsi.proto import sendtargets
from pyiscsi.proto.pdu import RESERVED_TAG, NopIn, TextResponse, decode
from pyiscsi.proto.portals import Portal
from pyiscsi.proto.sendtargets import (
    FoundTarget,
    SendTargetsMachine,
    TargetsFound,
    parse_sendtargets,
)

ONE = "iqn.2026-11.test:one"
TWO = "iqn.2026-11.test:two"


def text(*lines):
    return b"".join(line.encode("utf-8", "surrogateescape") + b"\0" for line in lines)


PARSED = [
    (text(), [], []),
    (text("", ""), [], []),
    (
        text(f"TargetName={ONE}", "TargetAddress=10.0.0.1:3260,1"),
        [FoundTarget(ONE, [Portal("10.0.0.1", 3260, 1)])],
        [],
    ),
    (
        text(f"TargetName={ONE}", "TargetAddress=a", "TargetAddress=a:1,2",
             "TargetAddress=[::1],3"),
        [FoundTarget(ONE, [Portal("a", 3260), Portal("a", 1, 2), Portal("::1", 3260, 3)])],
        [],
    ),
    (
        text(f"TargetName={ONE}", f"TargetName={TWO}", "TargetAddress=b"),
        [FoundTarget(ONE, [Portal(None, 3260)]), FoundTarget(TWO, [Portal("b", 3260)])],
        [],
    ),
    (
        text("TargetName=iqn.x/../y", "TargetAddress=a", f"TargetName={TWO}", "TargetAddress=b"),
        [FoundTarget(TWO, [Portal("b", 3260)])],
        ["Discovery TargetName invalid, ignoring"],
    ),
    (
        text(f"TargetName={ONE}", "TargetAddress=a/b", "TargetAddress=b"),
        [FoundTarget(ONE, [Portal("b", 3260)])],
        ["Discovery TargetAddress a/b invalid, ignoring"],
    ),
    (
        text(f"TargetName={ONE}", "TargetAddress=\x1b[31m"),
        [],
        ["Discovery TargetAddress ?[31m invalid, ignoring"],
    ),
    (
        text("TargetAddress=a", f"TargetName={ONE}", "TargetAlias=x\ny", "nonsense"),
        [FoundTarget(ONE, [Portal(None, 3260)])],
        [
            "unexpected SendTargets data: TargetAddress=a",
            "unexpected SendTargets data: TargetAlias=x?y",
            "unexpected SendTargets data: nonsense",
        ],
    ),
    (
        text(f"TargetName={ONE}", "TargetAddress=a", f"TargetName={TWO}", f"TargetName={ONE}",
             "TargetAddress=b", "TargetAddress=a"),
        [FoundTarget(ONE, [Portal("a", 3260), Portal("b", 3260)]),
         FoundTarget(TWO, [Portal(None, 3260)])],
        [],
    ),
    (
        text(f"TargetName={ONE}", "TargetAddress=no-such-host.invalid:3260,1"),
        [FoundTarget(ONE, [Portal("no-such-host.invalid", 3260, 1)])],
        [],
    ),
]  # fmt: skip

INVALID_NAMES = ["", "a/b", "..\\", "a b", "a\x01", "a" * 224, "\u00e4", "\udcff", "a\nb"]


@pytest.mark.parametrize(("data", "targets", "problems"), PARSED)
def test_answers(data, targets, problems):
    """D-080: forms of addresses, no address, unresolvable ones kept, bad entries left out."""
    assert parse_sendtargets(data) == TargetsFound(targets, problems)
    assert parse_sendtargets(data.rstrip(b"\0")) == TargetsFound(targets, problems)


@pytest.mark.parametrize("name", INVALID_NAMES)
def test_names_that_must_not_become_paths(name):
    found = parse_sendtargets(text(f"TargetName={name}", "TargetAddress=a", f"TargetName={ONE}"))
    assert [target.name for target in found.targets] == [ONE]
    assert found.problems == ["Discovery TargetName invalid, ignoring"]


@given(st.binary(max_size=300))
def test_any_bytes_give_only_safe_names(data):
    for target in parse_sendtargets(b"TargetName=iqn.a\0" + data).targets:
        assert is_discovered_name_valid(target.name)
        assert target.portals


def answer(data=b"", final=True, **fields):
    fields.setdefault("initiator_task_tag", 1)
    fields.setdefault("target_transfer_tag", RESERVED_TAG if final else 0x55)
    return TextResponse(final, data=data, **fields).encode()


def request(effects):
    (effect,) = effects
    return decode(effect.header, effect.data)


def test_first_request():
    asked = request(SendTargetsMachine(cmd_sn=5, exp_stat_sn=6, initiator_task_tag=7).start())
    assert asked.final
    assert not asked.immediate
    assert asked.data == b"SendTargets=All\0"
    assert (asked.initiator_task_tag, asked.target_transfer_tag) == (7, RESERVED_TAG)
    assert (asked.cmd_sn, asked.exp_stat_sn) == (5, 6)


WHOLE = text(f"TargetName={ONE}", "TargetAddress=10.0.0.1:3260,1", f"TargetName={TWO}")


@pytest.mark.parametrize("cut", range(len(WHOLE) + 1))
def test_keys_split_anywhere(cut):
    """D-080: a key may straddle two PDUs."""
    machine = SendTargetsMachine()
    machine.start()
    machine.handle_pdu(*answer(WHOLE[:cut], final=False))
    assert machine.handle_pdu(*answer(WHOLE[cut:])) == [parse_sendtargets(WHOLE)]


def test_many_small_pdus_and_their_numbers():
    """D-080: tags are echoed, CmdSN and ExpStatSN advance with every PDU."""
    machine = SendTargetsMachine(cmd_sn=0xFFFFFFFE, exp_stat_sn=1)
    machine.start()
    for index in range(len(WHOLE)):
        stat_sn = index + 1
        part = WHOLE[index : index + 1]
        asked = request(machine.handle_pdu(*answer(part, final=False, cont=True, stat_sn=stat_sn)))
        assert asked.data == b""
        assert asked.final
        assert asked.target_transfer_tag == 0x55
        assert asked.exp_stat_sn == stat_sn + 1
        assert asked.cmd_sn == (0xFFFFFFFF + index) & 0xFFFFFFFF
    (found,) = machine.handle_pdu(*answer(stat_sn=500))
    assert found == parse_sendtargets(WHOLE)
    assert machine.exp_stat_sn == 501


def test_last_response_without_final_bit():
    machine = SendTargetsMachine()
    machine.start()
    (found,) = machine.handle_pdu(*answer(WHOLE, final=False, target_transfer_tag=RESERVED_TAG))
    assert len(found.targets) == 2


BROKEN = {
    "other task": answer(initiator_task_tag=2),
    "other opcode": NopIn().encode(),
    "final and unfinished": answer(cont=True),
    "segment too long": answer(b"x" * 8193),
    "no header": (b"", b""),
}


@pytest.mark.parametrize("pdu", BROKEN.values(), ids=BROKEN.keys())
def test_broken_responses(pdu):
    machine = SendTargetsMachine()
    machine.start()
    with pytest.raises(RemoteProtocolError):
        machine.handle_pdu(*pdu)


@pytest.mark.parametrize("part", [b"x" * 100, b""])
def test_endless_answers_are_cut_off(part, monkeypatch):
    monkeypatch.setattr(sendtargets, "SENDTARGETS_TEXT_MAX", 1000)
    monkeypatch.setattr(sendtargets, "SENDTARGETS_RESPONSES_MAX", 50)
    machine = SendTargetsMachine()
    machine.start()
    rounds = 10 if part else 50
    for _ in range(rounds):
        machine.handle_pdu(*answer(part, final=False))
    with pytest.raises(RemoteProtocolError, match="discovery answer"):
        machine.handle_pdu(*answer(part, final=False))


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_any_bytes_are_handled_or_refused(header, data):
    machine = SendTargetsMachine()
    machine.start()
    try:
        machine.handle_pdu(header, data)
    except RemoteProtocolError:
        return


def test_very_many_addresses_of_one_target() -> None:
    """As many as the limit lets through, some of them twice: found in linear time."""
    text = "TargetName=iqn.2026-11.a:b\0" + "".join(
        f"TargetAddress=10.{n >> 16}.{n >> 8 & 255}.{n & 255},1\0" for n in [*range(100_000), 7]
    )
    [target] = parse_sendtargets(text.encode()).targets
    assert len(target.portals) == 100_000
