"""Result functions of the operational keys (RFC 7143 §6.2, §13)."""

import pytest

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.keys import BY_NAME, KEYS, agree, offered_keys, unanswered
from pyiscsi.proto.negotiation import OperationalNegotiation, TargetFacts
from pyiscsi.proto.settings import LoginSettings

NORMAL = LoginSettings("iqn.me", "iqn.target", b"\0\x02\x3d\0\0\1")
DISCOVERY = LoginSettings("iqn.me", "", b"\0\x02\x3d\0\0\0", discovery=True)
RDMA = LoginSettings("iqn.me", "iqn.target", b"\0\x02\x3d\0\0\1", rdma=True)

DIGEST_LISTS = ["None", "CRC32C", "CRC32C,None", "None,CRC32C"]

AGREED = [
    # key, offer, answer, value in force
    ("HeaderDigest", "None", "None", "None"),
    ("HeaderDigest", "CRC32C,None", "CRC32C", "CRC32C"),
    ("DataDigest", "None,CRC32C", "CRC32C", "CRC32C"),
    ("DataDigest", "CRC32C,None", "NotUnderstood", "None"),
    ("DefaultTime2Wait", 2, "0", 2),
    ("DefaultTime2Wait", 2, "5", 5),
    ("DefaultTime2Retain", 0, "20", 0),
    ("DefaultTime2Retain", 30, "20", 20),
    ("ErrorRecoveryLevel", 0, "0", 0),
    ("ErrorRecoveryLevel", 0, "NotUnderstood", 0),
    ("InitialR2T", False, "No", False),
    ("InitialR2T", False, "Yes", True),
    ("InitialR2T", True, "No", True),
    ("InitialR2T", False, "NotUnderstood", True),
    ("ImmediateData", True, "Yes", True),
    ("ImmediateData", True, "No", False),
    ("ImmediateData", False, "Yes", False),
    ("MaxBurstLength", 16776192, "262144", 262144),
    ("MaxBurstLength", 16776192, "0x40000", 262144),
    ("MaxBurstLength", 65536, "262144", 65536),
    ("MaxBurstLength", 16776192, "NotUnderstood", 262144),
    ("FirstBurstLength", 262144, "Irrelevant", 262144),
    ("FirstBurstLength", 262144, "65536", 65536),
    ("MaxOutstandingR2T", 8, "1", 1),
    ("MaxOutstandingR2T", 1, "65535", 1),
    ("MaxConnections", 1, "1", 1),
    ("DataPDUInOrder", True, "No", True),
    ("MaxRecvDataSegmentLength", 262144, "65536", 65536),
    ("MaxRecvDataSegmentLength", 8192, "16777215", 16777215),
    ("IFMarker", False, "Reject", False),
    ("IFMarker", False, "whatever", False),
    ("OFMarker", False, "Irrelevant", False),
    ("RDMAExtensions", True, "Yes", True),
]

REFUSED = [
    ("HeaderDigest", "None", "CRC32C"),
    ("HeaderDigest", "CRC32C", "None"),
    ("HeaderDigest", "CRC32C", "NotUnderstood"),
    ("HeaderDigest", "CRC32C,None", "Reject"),
    ("HeaderDigest", "CRC32C,None", "CRC32C,None"),
    ("DataDigest", "CRC32C,None", "MD5"),
    ("DataDigest", "CRC32C,None", ""),
    ("ErrorRecoveryLevel", 0, "1"),
    ("ErrorRecoveryLevel", 0, "2"),
    ("ErrorRecoveryLevel", 0, "Reject"),
    ("MaxConnections", 1, "2"),
    ("MaxConnections", 1, "0"),
    ("InitialR2T", False, "yes"),
    ("InitialR2T", False, ""),
    ("ImmediateData", True, "Reject"),
    ("MaxBurstLength", 262144, "511"),
    ("MaxBurstLength", 262144, "16777216"),
    ("MaxBurstLength", 262144, "-1"),
    ("FirstBurstLength", 262144, "lots"),
    ("MaxOutstandingR2T", 1, "0"),
    ("DefaultTime2Wait", 2, "3601"),
    ("MaxRecvDataSegmentLength", 262144, "0"),
    ("MaxRecvDataSegmentLength", 262144, "16777216"),
    ("RDMAExtensions", True, "No"),
    ("RDMAExtensions", True, "NotUnderstood"),
]


@pytest.mark.parametrize(("name", "offer", "answer", "value"), AGREED)
def test_result_functions(name, offer, answer, value):
    """D-031, D-032: the value in force follows from offer and answer by the key's function."""
    assert agree(BY_NAME[name], offer, answer) == value


@pytest.mark.parametrize(("name", "offer", "answer"), REFUSED)
def test_answers_that_end_the_login(name, offer, answer):
    """D-031: exclusive mismatch and values out of range."""
    with pytest.raises(RemoteProtocolError, match=name):
        agree(BY_NAME[name], offer, answer)


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.name)
def test_every_key_has_a_default_that_fits_its_row(key):
    if key.kind.value == "number":
        assert key.low <= int(key.default) <= key.high


def test_silence_means_the_default():
    assert unanswered(BY_NAME["InitialR2T"], False) is True
    assert unanswered(BY_NAME["MaxBurstLength"], 16776192) == 262144
    with pytest.raises(RemoteProtocolError):
        unanswered(BY_NAME["HeaderDigest"], "CRC32C")


def negotiated(settings, pairs):
    negotiation = OperationalNegotiation(settings, TargetFacts())
    negotiation.receive(pairs)
    return negotiation


NORMAL_ORDER = (
    "HeaderDigest DataDigest DefaultTime2Wait DefaultTime2Retain IFMarker OFMarker"
    " ErrorRecoveryLevel InitialR2T ImmediateData MaxBurstLength FirstBurstLength"
    " MaxOutstandingR2T MaxConnections DataPDUInOrder DataSequenceInOrder"
)

ORDERS = [
    (NORMAL, NORMAL_ORDER + " MaxRecvDataSegmentLength"),
    (
        RDMA,
        NORMAL_ORDER.removeprefix("HeaderDigest DataDigest ")
        + " InitiatorRecvDataSegmentLength TargetRecvDataSegmentLength RDMAExtensions",
    ),
    (
        DISCOVERY,
        "HeaderDigest DataDigest DefaultTime2Wait DefaultTime2Retain IFMarker OFMarker"
        " ErrorRecoveryLevel MaxRecvDataSegmentLength",
    ),
]


@pytest.mark.parametrize(("settings", "names"), ORDERS)
def test_order_of_offers(settings, names):
    """D-031: the keys a login offers, in the order targets are used to."""
    assert [key.name for key in offered_keys(settings)] == names.split()
    offers = OperationalNegotiation(settings, TargetFacts()).offers()
    assert [name for name, _ in offers] == names.split()


def test_offers_show_the_settings():
    """D-031: digest preferences and numbers as configured."""
    settings = LoginSettings(
        "iqn.me",
        "iqn.target",
        bytes(6),
        header_digest="None,CRC32C",
        data_digest="CRC32C",
        initial_r2t=True,
        immediate_data=False,
        max_outstanding_r2t=3,
    )
    offers = dict(OperationalNegotiation(settings, TargetFacts()).offers())
    assert offers["HeaderDigest"] == "None,CRC32C"
    assert offers["DataDigest"] == "CRC32C"
    assert offers["InitialR2T"] == "Yes"
    assert offers["ImmediateData"] == "No"
    assert offers["MaxOutstandingR2T"] == "3"
    assert offers["MaxRecvDataSegmentLength"] == "262144"


@pytest.mark.parametrize("digests", DIGEST_LISTS)
@pytest.mark.parametrize("answer", ["None", "CRC32C"])
def test_digest_preferences(digests, answer):
    """D-031: what is in the list may be answered, nothing else."""
    settings = LoginSettings("iqn.me", "iqn.t", bytes(6), header_digest=digests)
    if answer in digests.split(","):
        result = negotiated(settings, [("HeaderDigest", answer)]).result()
        assert result["HeaderDigest"] == answer
    else:
        with pytest.raises(RemoteProtocolError):
            negotiated(settings, [("HeaderDigest", answer)])


def test_silent_target():
    """D-032: unanswered keys have their defaults; order of PDUs and sequences stays Yes."""
    negotiation = negotiated(NORMAL, [])
    assert negotiation.result() == {
        "HeaderDigest": "None",
        "DataDigest": "None",
        "DefaultTime2Wait": 2,
        "DefaultTime2Retain": 0,
        "IFMarker": False,
        "OFMarker": False,
        "ErrorRecoveryLevel": 0,
        "InitialR2T": True,
        "ImmediateData": True,
        "MaxBurstLength": 262144,
        "FirstBurstLength": 65536,
        "MaxOutstandingR2T": 1,
        "MaxConnections": 1,
        "DataPDUInOrder": True,
        "DataSequenceInOrder": True,
        "MaxRecvDataSegmentLength": 262144,
    }
    assert negotiation.max_xmit_data_segment_length() == 8192


@pytest.mark.parametrize(
    ("limit", "declared", "value"),
    [(0, "65536", 65536), (4096, "65536", 4096), (65536, "4096", 4096), (0, None, 8192),
     (4096, None, 4096), (65536, None, 8192)],
)  # fmt: skip
def test_max_xmit_is_what_the_target_takes(limit, declared, value):
    """D-032."""
    settings = LoginSettings("iqn.me", "iqn.t", bytes(6), max_xmit_data_segment_length=limit)
    pairs = [("MaxRecvDataSegmentLength", declared)] if declared else []
    assert negotiated(settings, pairs).max_xmit_data_segment_length() == value


def test_first_burst_never_exceeds_max_burst():
    pairs = [("MaxBurstLength", "8192"), ("FirstBurstLength", "65536")]
    assert negotiated(NORMAL, pairs).result()["FirstBurstLength"] == 8192


def test_rdma_lengths():
    pairs = [
        ("RDMAExtensions", "Yes"),
        ("InitiatorRecvDataSegmentLength", "65536"),
        ("TargetRecvDataSegmentLength", "4096"),
    ]
    negotiation = negotiated(RDMA, pairs)
    result = negotiation.result()
    assert result["MaxRecvDataSegmentLength"] == 65536
    assert result["HeaderDigest"] == "None"
    assert negotiation.max_xmit_data_segment_length() == 4096


def test_rdma_target_must_agree_to_the_extensions():
    with pytest.raises(RemoteProtocolError):
        negotiated(RDMA, []).result()


REPLIES = [
    (NORMAL, [("X-com.example.foo", "1")], [("X-com.example.foo", "NotUnderstood")]),
    (NORMAL, [("X-com.example.foo", "NotUnderstood")], []),
    (NORMAL, [("iSCSIProtocolLevel", "1")], [("iSCSIProtocolLevel", "NotUnderstood")]),
    (NORMAL, [("X-a", "Reject"), ("X-b", "Irrelevant")], []),
    (NORMAL, [("RDMAExtensions", "Yes")], [("RDMAExtensions", "Irrelevant")]),
    (DISCOVERY, [("MaxBurstLength", "65536")], [("MaxBurstLength", "Irrelevant")]),
    (DISCOVERY, [("InitialR2T", "Yes"), ("X-a", "1")],
     [("InitialR2T", "Irrelevant"), ("X-a", "NotUnderstood")]),
    (DISCOVERY, [("MaxBurstLength", "Irrelevant")], []),
]  # fmt: skip


@pytest.mark.parametrize(("settings", "pairs", "replies"), REPLIES)
def test_keys_we_did_not_offer(settings, pairs, replies):
    """D-031: unknown keys answered, answers to keys never offered ignored."""
    negotiation = negotiated(settings, pairs)
    assert negotiation.take_replies() == replies
    assert negotiation.take_replies() == []


def test_facts_of_the_target():
    facts = TargetFacts()
    negotiation = OperationalNegotiation(NORMAL, facts)
    pairs = [("TargetAlias", "a\x07b"), ("TargetPortalGroupTag", "3"), ("TargetAddress", "x:1,3")]
    negotiation.receive(pairs)
    assert (facts.alias, facts.portal_group_tag) == ("a?b", 3)
    assert negotiation.take_replies() == []


FATAL = [
    [("ImmediateData", "Yes"), ("ImmediateData", "Yes")],
    [("X-a", "1"), ("X-a", "2")],
    [("AuthMethod", "None")],
    [("CHAP_A", "5")],
    [("TargetName", "iqn.x")],
    [("TargetPortalGroupTag", "65536")],
    [("TargetPortalGroupTag", "one")],
]


@pytest.mark.parametrize("pairs", FATAL)
def test_pairs_that_end_the_login(pairs):
    with pytest.raises(RemoteProtocolError):
        negotiated(NORMAL, pairs)


def test_a_key_is_negotiated_once():
    negotiation = negotiated(NORMAL, [("ImmediateData", "Yes")])
    with pytest.raises(RemoteProtocolError, match="twice"):
        negotiation.receive([("ImmediateData", "No")])


def test_answers_beyond_the_offer_are_told():
    negotiation = negotiated(NORMAL, [("MaxOutstandingR2T", "9"), ("ImmediateData", "No")])
    assert negotiation.warnings == ("target answered MaxOutstandingR2T=9, using 1",)
