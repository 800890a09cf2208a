"""Answers of a target, and what a login machine made of them."""

import dataclasses

from pyiscsi.proto.effects import Failed, SendPdu
from pyiscsi.proto.login import LoginMachine
from pyiscsi.proto.pdu import LoginResponse, decode
from pyiscsi.proto.settings import ChapSettings, LoginSettings
from pyiscsi.proto.text import decode_text, encode_text

ISID = bytes.fromhex("00023d000001")
NORMAL = LoginSettings("iqn.me", "iqn.target", ISID, initiator_alias="host")
CHAP = ChapSettings("user", "secret-secret", algorithms=("SHA3-256", "SHA256", "SHA1", "MD5"))
MUTUAL = dataclasses.replace(CHAP, username_in="target", password_in="other-secret!")
ONE_WAY_LOGIN = dataclasses.replace(NORMAL, auth=CHAP)
MUTUAL_LOGIN = dataclasses.replace(NORMAL, auth=MUTUAL)
DISCOVERY = LoginSettings(
    "iqn.me", "", bytes.fromhex("00023d000000"), discovery=True, max_recv_data_segment_length=32768
)


def random_bytes(length):
    return bytes(range(1, length + 1))


def machine(settings=NORMAL):
    return LoginMachine(settings, random_bytes)


def response(pairs=(), *, transit=True, csg=1, nsg=3, **fields):
    data = fields.pop("data", encode_text(pairs))
    return LoginResponse(transit, csg, nsg, ISID, data=data, **fields).encode()


def security(pairs=(), *, transit=False, **fields):
    return response(pairs, transit=transit, csg=0, nsg=1 if transit else 0, **fields)


def sent(effects):
    """The one request in effects, decoded, and its keys."""
    (effect,) = effects
    assert isinstance(effect, SendPdu)
    request = decode(effect.header, effect.data)
    return request, decode_text(request.data)


def failure(effects):
    (effect,) = effects
    assert isinstance(effect, Failed)
    return effect


OPERATIONAL = [
    ("HeaderDigest", "None"), ("DataDigest", "None"), ("DefaultTime2Wait", "2"),
    ("DefaultTime2Retain", "0"), ("IFMarker", "No"), ("OFMarker", "No"),
    ("ErrorRecoveryLevel", "0"), ("InitialR2T", "No"), ("ImmediateData", "Yes"),
    ("MaxBurstLength", "16776192"), ("FirstBurstLength", "262144"), ("MaxOutstandingR2T", "1"),
    ("MaxConnections", "1"), ("DataPDUInOrder", "Yes"), ("DataSequenceInOrder", "Yes"),
    ("MaxRecvDataSegmentLength", "262144"),
]  # fmt: skip
