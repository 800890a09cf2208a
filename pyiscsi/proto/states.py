"""Connection and session states of an initiator: RFC 7143 §8 as tables.

Everything that affects a state is here. Rows carry the RFC's labels; a pair that has no row is a
mistake of the caller. The rows that only a target can take (T3, T6, N2, N7 to N11) are left out.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import NamedTuple

from pyiscsi.errors import LocalProtocolError


class ConnectionState(enum.Enum):
    """§8.1.1 and §8.2.1; values are the RFC's names."""

    FREE = "S1"
    XPT_WAIT = "S2"
    IN_LOGIN = "S4"
    LOGGED_IN = "S5"
    IN_LOGOUT = "S6"
    LOGOUT_REQUESTED = "S7"
    CLEANUP_WAIT = "S8"
    IN_CLEANUP = "R2"


class ConnectionEvent(enum.Enum):
    CONNECT = "a transport connection is requested"
    CONNECTED = "the transport connection is established"
    LOGIN_SUCCEEDED = "the final login response has status class 0"
    LOGIN_FAILED = "the login was refused or timed out"
    TRANSPORT_LOST = "the connection was refused, reset, closed, dropped or timed out"
    LOGOUT_REQUESTED = "the target asks for a logout (async event 1)"
    LOGOUT_STARTED = "a Logout request goes out"
    LOGOUT_SUCCEEDED = "the Logout response says success"
    LOGOUT_FAILED = "the Logout response says failure, or never came"
    SESSION_CLOSED = "the session was closed on another connection"
    CLEANUP_STARTED = "explicit or implicit (reinstatement) logout of the lost connection begins"
    CLEANUP_SUCCEEDED = "that logout succeeded"
    CLEANUP_FAILED = "that logout failed"
    CLEANUP_TIMED_OUT = "the connection state timed out"


class SessionState(enum.Enum):
    """§8.3.1, the initiator's states."""

    FREE = "Q1"
    LOGGED_IN = "Q3"
    FAILED = "Q4"


class SessionEvent(enum.Enum):
    CONNECTION_LOGGED_IN = "a connection reached LOGGED_IN"
    CLOSED = "the session was closed gracefully"
    FAILED = "the last connection failed"
    CONTINUED = "the session was continued on a new connection"
    TIMED_OUT = "the session state timed out or the session was reinstated"


class Transition(NamedTuple):
    label: str
    state: ConnectionState


class SessionTransition(NamedTuple):
    label: str
    state: SessionState


_S = ConnectionState
_E = ConnectionEvent

# fmt: off
_CONNECTION_ROWS = (
    (_S.FREE,             _E.CONNECT,           "T1",  _S.XPT_WAIT),
    (_S.XPT_WAIT,         _E.TRANSPORT_LOST,    "T2",  _S.FREE),
    (_S.XPT_WAIT,         _E.SESSION_CLOSED,    "T2",  _S.FREE),
    (_S.XPT_WAIT,         _E.CONNECTED,         "T4",  _S.IN_LOGIN),
    (_S.IN_LOGIN,         _E.LOGIN_SUCCEEDED,   "T5",  _S.LOGGED_IN),
    (_S.IN_LOGIN,         _E.LOGIN_FAILED,      "T7",  _S.FREE),
    (_S.IN_LOGIN,         _E.TRANSPORT_LOST,    "T7",  _S.FREE),
    (_S.IN_LOGIN,         _E.SESSION_CLOSED,    "T7",  _S.FREE),
    (_S.LOGGED_IN,        _E.SESSION_CLOSED,    "T8",  _S.FREE),
    (_S.LOGGED_IN,        _E.LOGOUT_STARTED,    "T9",  _S.IN_LOGOUT),
    (_S.LOGOUT_REQUESTED, _E.LOGOUT_STARTED,    "T10", _S.IN_LOGOUT),
    (_S.LOGGED_IN,        _E.LOGOUT_REQUESTED,  "T11", _S.LOGOUT_REQUESTED),
    (_S.LOGOUT_REQUESTED, _E.LOGOUT_REQUESTED,  "T12", _S.LOGOUT_REQUESTED),
    (_S.IN_LOGOUT,        _E.LOGOUT_SUCCEEDED,  "T13", _S.FREE),
    (_S.IN_LOGOUT,        _E.SESSION_CLOSED,    "T13", _S.FREE),
    (_S.IN_LOGOUT,        _E.LOGOUT_REQUESTED,  "T14", _S.IN_LOGOUT),
    (_S.LOGGED_IN,        _E.TRANSPORT_LOST,    "T15", _S.CLEANUP_WAIT),
    (_S.LOGOUT_REQUESTED, _E.TRANSPORT_LOST,    "T16", _S.CLEANUP_WAIT),
    (_S.IN_LOGOUT,        _E.TRANSPORT_LOST,    "T17", _S.CLEANUP_WAIT),
    (_S.IN_LOGOUT,        _E.LOGOUT_FAILED,     "T17", _S.CLEANUP_WAIT),
    (_S.LOGOUT_REQUESTED, _E.SESSION_CLOSED,    "T18", _S.FREE),
    (_S.CLEANUP_WAIT,     _E.CLEANUP_TIMED_OUT, "M1",  _S.FREE),
    (_S.CLEANUP_WAIT,     _E.SESSION_CLOSED,    "M1",  _S.FREE),
    (_S.CLEANUP_WAIT,     _E.CLEANUP_STARTED,   "M2",  _S.IN_CLEANUP),
    (_S.IN_CLEANUP,       _E.CLEANUP_FAILED,    "M3",  _S.CLEANUP_WAIT),
    (_S.IN_CLEANUP,       _E.CLEANUP_SUCCEEDED, "M4",  _S.FREE),
    (_S.IN_CLEANUP,       _E.CLEANUP_TIMED_OUT, "M4",  _S.FREE),
    (_S.IN_CLEANUP,       _E.SESSION_CLOSED,    "M4",  _S.FREE),
)

_SESSION_ROWS = (
    (SessionState.FREE,      SessionEvent.CONNECTION_LOGGED_IN, "N1", SessionState.LOGGED_IN),
    (SessionState.LOGGED_IN, SessionEvent.CLOSED,               "N3", SessionState.FREE),
    (SessionState.FAILED,    SessionEvent.CONTINUED,            "N4", SessionState.LOGGED_IN),
    (SessionState.LOGGED_IN, SessionEvent.FAILED,               "N5", SessionState.FAILED),
    (SessionState.FAILED,    SessionEvent.TIMED_OUT,            "N6", SessionState.FREE),
)
# fmt: on

CONNECTION_TRANSITIONS: Mapping[tuple[ConnectionState, ConnectionEvent], Transition] = {
    (state, event): Transition(label, after) for state, event, label, after in _CONNECTION_ROWS
}
SESSION_TRANSITIONS: Mapping[tuple[SessionState, SessionEvent], SessionTransition] = {
    (state, event): SessionTransition(label, after) for state, event, label, after in _SESSION_ROWS
}


def next_connection_state(state: ConnectionState, event: ConnectionEvent) -> Transition:
    """The transition an event causes. LocalProtocolError when the RFC knows none."""
    try:
        return CONNECTION_TRANSITIONS[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event.name} cannot happen in state {state.name}") from None


def next_session_state(state: SessionState, event: SessionEvent) -> SessionTransition:
    """The transition an event causes. LocalProtocolError when the RFC knows none."""
    try:
        return SESSION_TRANSITIONS[state, event]
    except KeyError:
        raise LocalProtocolError(f"{event.name} cannot happen in state {state.name}") from None


class InternalStage(enum.IntEnum):
    """What the daemon is about to do with a session (open-iscsi usr/initiator.h, r_stage)."""

    NO_CHANGE = 0
    CLEANUP = 1
    REOPEN = 2
    REDIRECT = 3
    DESTROYED = 4


UNKNOWN_WORDS = "Unknown"

_CONNECTION_SHOWN = {
    # number in SESSION_INFO answers, words of `iscsiadm -m session -P 1` (usr/session_info.c)
    ConnectionState.FREE: (0, "FREE"),
    ConnectionState.XPT_WAIT: (1, "TRANSPORT WAIT"),
    ConnectionState.IN_LOGIN: (2, "IN LOGIN"),
    ConnectionState.LOGGED_IN: (3, "LOGGED IN"),
    ConnectionState.IN_LOGOUT: (4, "IN LOGOUT"),
    ConnectionState.LOGOUT_REQUESTED: (5, "LOGOUT REQUESTED"),
    ConnectionState.CLEANUP_WAIT: (6, "CLEANUP WAIT"),
    ConnectionState.IN_CLEANUP: (6, "CLEANUP WAIT"),
}

_STAGE_WORDS = {
    InternalStage.NO_CHANGE: "NO CHANGE",
    InternalStage.CLEANUP: "CLEANUP",
    InternalStage.REOPEN: "REOPEN",
    InternalStage.REDIRECT: "REDIRECT",
}


def connection_number(state: ConnectionState) -> int:
    """The conn_state number of open-iscsi's SESSION_INFO answer."""
    return _CONNECTION_SHOWN[state][0]


def connection_words(state: ConnectionState) -> str:
    """The words after "iSCSI Connection State:"."""
    return _CONNECTION_SHOWN[state][1]


def stage_words(stage: InternalStage) -> str:
    """The words after "Internal iscsid Session State:"."""
    return _STAGE_WORDS.get(stage, UNKNOWN_WORDS)
