"""Corrections of a record's numbers and the parameter lists A, B and C."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pyiscsi.daemon.parameters import (
    Prepared,
    chap_settings,
    isid,
    list_a,
    list_b,
    list_c,
    login_settings,
    prepare,
)
from pyiscsi.proto.effects import LoginResult
from pyiscsi.transport.numbers import Cap, HostParam, Param
from pyiscsi.transport.scripted import TCP_CAPS
from tests.unit.daemon.actor_parts import INITIATOR, TARGET, node

WITHIN = "Must be within 512 and 16777215. Setting to"
TIMEOUT = "Must be greater than zero. Using default"


def prepared(**settings: str) -> tuple[Prepared, list[str]]:
    return prepare(node(**settings), "tcp", TCP_CAPS)


@pytest.mark.parametrize(
    ("settings", "attribute", "value", "messages"),
    [
        ({"FirstBurstLength": "4099"}, "first_burst_length", 4096, []),
        (
            {"session__iscsi__FirstBurstLength": "100"}, "first_burst_length", 262144,
            [f"Invalid iscsi.FirstBurstLength of 100. {WITHIN} 262144"],
        ),
        (
            {"MaxBurstLength": "4096"}, "first_burst_length", 4096,
            [
                "Invalid iscsi.FirstBurstLength of 262144. Must be less than "
                "iscsi.MaxBurstLength. Setting to 4096"
            ],
        ),
        (
            {"MaxBurstLength": "16777216"}, "max_burst_length", 16776192,
            [f"Invalid iscsi.MaxBurstLength of 16777216. {WITHIN} 16776192"],
        ),
        (
            {"MaxRecvDataSegmentLength": "8"}, "max_recv_data_segment_length", 262144,
            [f"Invalid iscsi.MaxRecvDataSegmentLength of 8. {WITHIN} 262144"],
        ),
        ({"MaxXmitDataSegmentLength": "0"}, "max_xmit_data_segment_length", 0, []),
        (
            {"MaxXmitDataSegmentLength": "4"}, "max_xmit_data_segment_length", 262144,
            [f"Invalid iscsi.MaxXmitDataSegmentLength of 4. {WITHIN} 262144"],
        ),
        (
            {"login_timeout": "0"}, "login_timeout_s", 30,
            [f"Invalid timeo.login_timeout. {TIMEOUT} 30."],
        ),
        (
            {"logout_timeout": "0"}, "logout_timeout_s", 15,
            [f"Invalid timeo.logout_timeout. {TIMEOUT} 15."],
        ),
        ({"login_timeout": "2", "initial_login_retry_max": "3"}, "retry_window_s", 6, []),
        ({"initial_login_retry_max": "0"}, "retry_window_s", 0, []),
    ],
)  # fmt: skip
def test_corrections(
    settings: dict[str, str], attribute: str, value: int, messages: list[str]
) -> None:
    found, lines = prepared(**settings)
    assert getattr(found, attribute) == value
    assert lines == messages


@pytest.mark.parametrize(
    ("interval", "timeout", "result", "message"),
    [
        ("5", "7", (5, 7), []),
        ("0", "0", (0, 0), []),
        ("0", "7", (5, 7), [f"Invalid timeo.noop_out_interval. {TIMEOUT} 5."]),
        ("9", "0", (9, 5), [f"Invalid timeo.noop_out_timeout. {TIMEOUT} 5."]),
    ],
)
def test_noop_settings(
    interval: str, timeout: str, result: tuple[int, int], message: list[str]
) -> None:
    """D-056: both 0 is off, one alone becomes 5."""
    found, lines = prepared(noop_out_interval=interval, noop_out_timeout=timeout)
    assert (found.noop_out_interval_s, found.noop_out_timeout_s) == result
    assert lines == message


def test_a_transport_without_abilities_limits_the_offer() -> None:
    record = node(HeaderDigest="CRC32C", DataDigest="CRC32C,None", MaxOutstandingR2T="4")
    found, lines = prepare(record, "tcp", 0)
    assert (found.header_digest, found.data_digest) == ("None", "None")
    assert found.max_outstanding_r2t == 1
    assert len(lines) == 3
    assert prepare(record, "tcp", TCP_CAPS)[0].max_outstanding_r2t == 4
    assert prepare(record, "iser", TCP_CAPS)[0].header_digest == "None"


def test_isid_follows_the_session_number() -> None:
    """D-030: the same sid gives the same ISID."""
    assert isid(1).hex() == "00023d000001"
    assert isid(0x1ABCDEF).hex() == "00023dabcdef"


def test_list_a_in_order() -> None:
    """D-027: order of list A, empty strings left out."""
    record = node()
    found = list(list_a(record, prepared()[0], INITIATOR, kernel_pings=True))
    assert found == [
        (Param.TARGET_NAME, TARGET),
        (Param.PERSISTENT_ADDRESS, "192.0.2.1"),
        (Param.PERSISTENT_PORT, "3260"),
        (Param.SESS_RECOVERY_TMO, "120"),
        (Param.FAST_ABORT, "1"),
        (Param.ABORT_TMO, "15"),
        (Param.LU_RESET_TMO, "30"),
        (Param.TGT_RESET_TMO, "30"),
        (Param.PING_TMO, "5"),
        (Param.RECV_TMO, "5"),
        (Param.IFACE_NAME, "default"),
        (Param.INITIATOR_NAME, INITIATOR.name),
        (Param.DISCOVERY_SESS, "0"),
    ]


def test_list_a_with_credentials_and_without_kernel_pings() -> None:
    """D-027: CHAP strings in the original's order; no NOP settings for a kernel without them."""
    record = node(username="me", password="own", username_in="you", password_in="theirs")
    found = list(list_a(record, prepared()[0], INITIATOR, kernel_pings=False))
    numbers = [param for param, _ in found]
    start = numbers.index(Param.USERNAME)
    assert numbers[start : start + 4] == [22, 23, 24, 25]
    assert [value for _, value in found[start : start + 4]] == ["me", "you", "own", "theirs"]
    assert Param.PING_TMO not in numbers
    assert Param.RECV_TMO not in numbers


@pytest.mark.parametrize(
    ("netdev", "hwaddress", "expected"),
    [
        ("", "", []),
        ("default", "default", []),
        ("eth0", "", [(HostParam.NETDEV_NAME, "eth0")]),
        ("", "02:00:00:00:00:01", [(HostParam.HWADDRESS, "02:00:00:00:00:01")]),
    ],
)
def test_list_b(netdev: str, hwaddress: str, expected: list[tuple[int, str]]) -> None:
    """D-027: only what the iface is bound to."""
    record = node(net_ifacename=netdev, hwaddress=hwaddress)
    assert list(list_b(record)) == expected


RESULT = LoginResult(
    negotiated={
        "HeaderDigest": "CRC32C", "DataDigest": "None", "InitialR2T": True, "ImmediateData": False,
        "MaxOutstandingR2T": 2, "FirstBurstLength": 65536, "MaxBurstLength": 131072,
        "DataPDUInOrder": True, "DataSequenceInOrder": True, "MaxRecvDataSegmentLength": 262144,
    },
    target_portal_group_tag=3, target_alias="", tsih=1, exp_stat_sn=0xFFFFFFFF,
    max_xmit_data_segment_length=8192,
)  # fmt: skip


def test_list_c_in_order() -> None:
    """D-027, D-032: negotiated values in the documented order; no markers without the ability."""
    assert list(list_c(RESULT, -1, TCP_CAPS)) == [
        (Param.MAX_RECV_DLENGTH, "262144"),
        (Param.MAX_XMIT_DLENGTH, "8192"),
        (Param.HDRDGST_EN, "1"),
        (Param.DATADGST_EN, "0"),
        (Param.INITIAL_R2T_EN, "1"),
        (Param.MAX_R2T, "2"),
        (Param.IMM_DATA_EN, "0"),
        (Param.FIRST_BURST, "65536"),
        (Param.MAX_BURST, "131072"),
        (Param.PDU_INORDER_EN, "1"),
        (Param.DATASEQ_INORDER_EN, "1"),
        (Param.ERL, "0"),
        (Param.EXP_STATSN, "4294967295"),
        (Param.TPGT, "3"),
    ]


@pytest.mark.parametrize(
    ("caps", "left_out"),
    [
        (0, {2, 3, 5, 12, 13}),
        (int(Cap.HDRDGST), {3, 5, 12, 13}),
        (int(TCP_CAPS | Cap.MARKERS), set()),
    ],
)
def test_list_c_masked_by_capabilities(caps: int, left_out: set[int]) -> None:
    """D-027: parameters the transport has no ability for are not sent."""
    every = {*range(15), 16}
    assert {param for param, _ in list_c(RESULT, -1, caps)} == every - left_out


def test_tpgt_of_the_record_when_the_target_tells_none() -> None:
    silent = replace(RESULT, target_portal_group_tag=None)
    assert list(list_c(silent, -1, TCP_CAPS))[-1] == (Param.TPGT, "-1")


@pytest.mark.parametrize(
    ("settings", "offered"),
    [
        ({}, False),
        ({"username": "me"}, False),
        ({"authmethod": "None", "username": "me", "password": "secret"}, True),
        ({"username_in": "you", "password_in": "secret"}, True),
    ],
)
def test_credentials_decide_about_chap(settings: dict[str, str], offered: bool) -> None:
    """A password makes it CHAP, whatever authmethod says; mutual without own secret is judged
    by the login machine, not dropped."""
    assert (chap_settings(node(**settings), "node.session.") is not None) is offered


def test_chap_algorithms_in_the_records_order() -> None:
    """D-033: preference as configured."""
    record = node(username="me", password="secret", chap_algs="SHA3-256,SHA256,SHA1,MD5")
    settings = chap_settings(record, "node.session.")
    assert settings is not None
    assert settings.algorithms == ("SHA3-256", "SHA256", "SHA1", "MD5")
    assert "secret" not in repr(settings)


def test_chap_without_an_algorithm_that_is_known() -> None:
    """A list of other words is stored as an empty one: it is the default that is offered."""
    settings = chap_settings(node(password="secret", chap_algs=""), "node.session.")
    assert settings is not None
    assert settings.algorithms == ("MD5",)


def test_login_settings_come_from_the_record() -> None:
    """D-031: digests, bursts and times as configured."""
    record = node(
        HeaderDigest="CRC32C,None", InitialR2T="Yes", ImmediateData="No", DefaultTime2Wait="3"
    )
    settings = login_settings(record, prepare(record, "tcp", TCP_CAPS)[0], INITIATOR, 9, 78)
    assert settings.header_digest == "CRC32C,None"
    assert (settings.initial_r2t, settings.immediate_data) == (True, False)
    assert settings.default_time2wait == 3
    assert settings.isid == isid(9)
    assert settings.exp_stat_sn == 78
    assert (settings.initiator_name, settings.target_name) == (INITIATOR.name, TARGET)
