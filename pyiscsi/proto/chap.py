"""CHAP (RFC 1994 in RFC 7143 §12.1): the initiator's side of the security stage.

Randomness is passed in. Failure texts are those of open-iscsi usr/auth.c, which administrators
look for in logs.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import re
from collections.abc import Callable, Iterable, Mapping

from pyiscsi.errors import RemoteProtocolError
from pyiscsi.proto.limits import CHAP_BINARY_MAX
from pyiscsi.proto.settings import ChapSettings
from pyiscsi.proto.text import Pair

RandomBytes = Callable[[int], bytes]

ALGORITHMS = {
    # name in records: CHAP_A code (RFC 7143 §12.1.2, IANA), hashlib name, digest bytes
    "MD5": (5, "md5", 16),
    "SHA1": (6, "sha1", 20),
    "SHA256": (7, "sha256", 32),
    "SHA3-256": (8, "sha3_256", 32),
}
_BY_CODE = {str(code): (name, size) for code, name, size in ALGORITHMS.values()}
SECRET_MIN = 12
"""Bytes below which RFC 7143 §9.2.1 asks for IPsec; shorter ones are common, so only warned of."""

_HEX = re.compile(r"0[xX][0-9A-Fa-f]+", re.ASCII)
_BASE64 = re.compile(r"0[bB][A-Za-z0-9+/]+={0,2}", re.ASCII)
_IDENTIFIER = re.compile(r"[0-9]{1,3}|0[xX][0-9A-Fa-f]{1,2}", re.ASCII)


class ChapFailure(RemoteProtocolError):
    """Authentication did not come about; the text is the reason.

    `finding`: what was wrong with the target's own proof, where that is the reason.
    """

    def __init__(self, reason: str, finding: str = "") -> None:
        super().__init__(reason)
        self.finding = finding


def encode_binary(value: bytes) -> str:
    return "0x" + value.hex()


def decode_binary(text: str) -> bytes | None:
    """Hexadecimal or base64 constant (RFC 7143 §6.1); None if it is neither, empty or too long."""
    if _HEX.fullmatch(text):
        digits = text[2:]
        value = bytes.fromhex(digits if len(digits) % 2 == 0 else "0" + digits)
    elif _BASE64.fullmatch(text):
        try:
            value = base64.b64decode(text[2:], validate=True)
        except binascii.Error:
            return None
    else:
        return None
    return value if 0 < len(value) <= CHAP_BINARY_MAX else None


def usable_algorithms(
    names: Iterable[str], new: Callable[[str], object] = hashlib.new
) -> list[str]:
    """Codes for CHAP_A in the given order, without what the crypto library refuses (FIPS)."""
    codes = []
    for name in names:
        if name not in ALGORITHMS:
            continue
        code, hash_name, _ = ALGORITHMS[name]
        try:
            new(hash_name)
        except ValueError:
            continue
        codes.append(str(code))
    return codes


def chap_response(code: str, identifier: int, secret: str, challenge: bytes) -> bytes:
    """The proof of knowing `secret` (RFC 1994 §4.1)."""
    key = secret.encode("utf-8", "surrogateescape")
    return hashlib.new(_BY_CODE[code][0], bytes([identifier]) + key + challenge).digest()


class _Expect(enum.Enum):
    METHOD = enum.auto()
    CHALLENGE = enum.auto()
    PROOF = enum.auto()
    NOTHING = enum.auto()


_EXPECTED_KEYS = {
    _Expect.METHOD: frozenset({"AuthMethod"}),
    _Expect.CHALLENGE: frozenset({"CHAP_A", "CHAP_I", "CHAP_C"}),
    _Expect.PROOF: frozenset({"CHAP_N", "CHAP_R"}),
    _Expect.NOTHING: frozenset[str](),
}


class ChapInitiator:
    """One authentication. `complete`: nothing more is needed from the target; `may_transit`: our
    next request may ask to leave the security stage.
    """

    def __init__(self, settings: ChapSettings, random_bytes: RandomBytes) -> None:
        self._settings = settings
        self._random_bytes = random_bytes
        self._algorithms = usable_algorithms(settings.algorithms)
        self._expect = _Expect.METHOD
        self._code = ""
        self._identifier = 0
        self._challenge = b""
        self.may_transit = not settings.mutual

    @property
    def complete(self) -> bool:
        return self._expect is _Expect.NOTHING

    def check(self) -> str:
        """What is wrong with the settings, "" when they can be used."""
        settings = self._settings
        if not settings.password:
            return "Local password not set"
        if settings.mutual and not (settings.username_in and settings.password_in):
            return "the target is to prove itself, but its user name or password is not set"
        if not self._algorithms:
            return "CHAP algorithm negotiation failed"
        return ""

    def warnings(self) -> tuple[str, ...]:
        secrets = (self._settings.password, self._settings.password_in)
        if any(0 < len(s) < SECRET_MIN for s in secrets):
            return (f"a CHAP secret is shorter than {SECRET_MIN} bytes",)
        return ()

    def start(self) -> list[Pair]:
        return [("AuthMethod", "CHAP" if self._settings.mutual else "CHAP,None")]

    def receive(self, pairs: Mapping[str, str]) -> list[Pair]:
        """Take the security keys of one answer; the keys to send next. Raises ChapFailure."""
        expected = _EXPECTED_KEYS[self._expect]
        if pairs.keys() - expected:
            raise ChapFailure("Unexpected key present")
        if missing := expected - pairs.keys():
            raise ChapFailure(f"{min(missing)} key not present")
        handlers = {
            _Expect.METHOD: self._handle_method,
            _Expect.CHALLENGE: self._handle_challenge,
            _Expect.PROOF: self._handle_proof,
        }
        handler = handlers.get(self._expect)
        return handler(pairs) if handler else []

    def _handle_method(self, pairs: Mapping[str, str]) -> list[Pair]:
        method = pairs["AuthMethod"]
        if method == "None" and not self._settings.mutual:
            self._expect = _Expect.NOTHING
            return []
        if method != "CHAP":
            raise ChapFailure("AuthMethod negotiation failed")
        self._expect = _Expect.CHALLENGE
        self.may_transit = False
        return [("CHAP_A", ",".join(self._algorithms))]

    def _handle_challenge(self, pairs: Mapping[str, str]) -> list[Pair]:
        if pairs["CHAP_A"] not in self._algorithms:
            raise ChapFailure("CHAP algorithm negotiation failed")
        self._code = pairs["CHAP_A"]
        identifier = _IDENTIFIER.fullmatch(pairs["CHAP_I"]) and _integer(pairs["CHAP_I"])
        if identifier is None or identifier > 255:
            raise ChapFailure("CHAP identifier bad")
        challenge = decode_binary(pairs["CHAP_C"])
        if challenge is None:
            raise ChapFailure("CHAP challenge bad")
        proof = chap_response(self._code, identifier, self._settings.password, challenge)
        answer = [("CHAP_N", self._settings.username), ("CHAP_R", encode_binary(proof))]
        self.may_transit = True
        if not self._settings.mutual:
            self._expect = _Expect.NOTHING
            return answer
        self._expect = _Expect.PROOF
        return answer + self._own_challenge(challenge)

    def _own_challenge(self, received: bytes) -> list[Pair]:
        self._identifier = self._random_bytes(1)[0]
        self._challenge = self._random_bytes(_BY_CODE[self._code][1])
        if hmac.compare_digest(self._challenge, received):
            # RFC 7143 §9.2.1: with equal challenges our own proof could be sent back to us.
            raise ChapFailure("CHAP challenge bad")
        return [("CHAP_I", str(self._identifier)), ("CHAP_C", encode_binary(self._challenge))]

    def _handle_proof(self, pairs: Mapping[str, str]) -> list[Pair]:
        settings = self._settings
        proof = decode_binary(pairs["CHAP_R"])
        if proof is None or len(proof) != _BY_CODE[self._code][1]:
            raise ChapFailure("CHAP response bad")
        own = chap_response(self._code, self._identifier, settings.password, self._challenge)
        if hmac.compare_digest(proof, own):
            raise ChapFailure("Local password same as remote")
        wanted = chap_response(self._code, self._identifier, settings.password_in, self._challenge)
        names_equal = hmac.compare_digest(
            pairs["CHAP_N"].encode("utf-8", "surrogateescape"),
            settings.username_in.encode("utf-8", "surrogateescape"),
        )
        if not (hmac.compare_digest(proof, wanted) and names_equal):
            finding = "CHAP response" if names_equal else "username"
            raise ChapFailure("Authentication request failed", f"received incorrect {finding}")
        self._expect = _Expect.NOTHING
        return []


def _integer(text: str) -> int:
    return int(text, 16) if text[:2] in ("0x", "0X") else int(text)
