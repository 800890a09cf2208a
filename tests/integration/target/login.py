"""The target's side of the login phase, and of CHAP."""

from __future__ import annotations

from pyiscsi.proto.chap import chap_response, decode_binary, encode_binary
from pyiscsi.proto.pdu import LoginRequest
from pyiscsi.proto.text import Pair, decode_text
from tests.integration.target.script import ChapPolicy, Script

SUCCESS = (0, 0)
AUTHENTICATION_FAILED = (2, 1)
MISSING_PARAMETER = (2, 7)

_DECLARATIONS = {"InitiatorName", "InitiatorAlias", "TargetName", "SessionType"}


class _Refused(Exception):
    def __init__(self, status: tuple[int, int]) -> None:
        super().__init__(status)
        self.status = status


class TargetLogin:
    """One login. `answer()` gives (status, whether to move on, keys) for each whole request."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self._chap = _TargetChap(script.chap) if script.chap else None
        self._first = True
        self.digests = {"HeaderDigest": "None", "DataDigest": "None"}
        self.discovery = False

    def answer(self, request: LoginRequest) -> tuple[tuple[int, int], bool, list[Pair]]:
        pairs = decode_text(request.data)
        try:
            answers = self._introduce(dict(pairs)) + self._negotiate(request.csg, pairs)
        except _Refused as refused:
            return refused.status, False, []
        ready = self._chap is None or self._chap.passed
        return SUCCESS, request.transit and ready, answers

    def _introduce(self, pairs: dict[str, str]) -> list[Pair]:
        if not self._first:
            return []
        self._first = False
        if "InitiatorName" not in pairs:
            raise _Refused(MISSING_PARAMETER)
        self.discovery = pairs.get("SessionType") == "Discovery"
        known = [("TargetAlias", self._script.alias)]
        return [*known, ("TargetPortalGroupTag", self._script.portal_group_tag)]

    def _negotiate(self, stage: int, pairs: list[Pair]) -> list[Pair]:
        offers = [(key, value) for key, value in pairs if key not in _DECLARATIONS]
        if stage == 0:
            if self._chap:
                return self._chap.answer(dict(offers))
            return [("AuthMethod", "None")] if offers else []
        if self._chap and not self._chap.passed:
            raise _Refused(AUTHENTICATION_FAILED)
        return [pair for key, value in offers if (pair := self._operational(key, value))]

    def _operational(self, key: str, value: str) -> Pair | None:
        if key in self._script.answers:
            answer = self._script.answers[key]
            return None if answer is None else (key, answer)
        if value in ("Irrelevant", "NotUnderstood", "Reject"):
            return None
        if key in self.digests:
            common = [d for d in value.split(",") if d in self._script.digests]
            self.digests[key] = common[0] if common else "None"
            return key, common[0] if common else "Reject"
        if key == "MaxRecvDataSegmentLength":
            return key, "65536"
        return key, value


class _TargetChap:
    def __init__(self, policy: ChapPolicy) -> None:
        self._policy = policy
        self._code = ""
        self.passed = False

    def answer(self, pairs: dict[str, str]) -> list[Pair]:
        if "AuthMethod" in pairs:
            if "CHAP" not in pairs["AuthMethod"].split(","):
                raise _Refused(AUTHENTICATION_FAILED)
            return [("AuthMethod", "CHAP")]
        if "CHAP_A" in pairs:
            return self._challenge(pairs["CHAP_A"].split(","))
        if "CHAP_R" in pairs:
            return self._verify(pairs)
        return []

    def _challenge(self, offered: list[str]) -> list[Pair]:
        common = [code for code in offered if code in self._policy.algorithms]
        if not common:
            raise _Refused(AUTHENTICATION_FAILED)
        self._code = common[0]
        return [
            ("CHAP_A", self._code),
            ("CHAP_I", str(self._policy.identifier)),
            ("CHAP_C", encode_binary(self._policy.challenge)),
        ]

    def _verify(self, pairs: dict[str, str]) -> list[Pair]:
        policy = self._policy
        wanted = chap_response(self._code, policy.identifier, policy.password, policy.challenge)
        proof = decode_binary(pairs["CHAP_R"])
        if pairs.get("CHAP_N") != policy.username or proof != wanted:
            raise _Refused(AUTHENTICATION_FAILED)
        self.passed = True
        if "CHAP_C" not in pairs:
            return []
        challenge = decode_binary(pairs["CHAP_C"])
        assert challenge is not None
        own = chap_response(self._code, int(pairs["CHAP_I"]), policy.own_password, challenge)
        return [("CHAP_N", policy.own_username), ("CHAP_R", encode_binary(own))]
