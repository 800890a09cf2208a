"""RFC 7143 §8: every state with every event."""

import pytest

from pyiscsi.errors import LocalProtocolError
from pyiscsi.proto.states import (
    CONNECTION_TRANSITIONS,
    SESSION_TRANSITIONS,
    ConnectionEvent,
    ConnectionState,
    InternalStage,
    SessionEvent,
    SessionState,
    connection_number,
    connection_words,
    next_connection_state,
    next_session_state,
    stage_words,
)

# The initiator's diagram of RFC 7143 §8.1.3 (rows: from, columns: to) and §8.2.2.
DIAGRAM = {
    ("S1", "S2"): {"T1"},
    ("S2", "S1"): {"T2"},
    ("S2", "S4"): {"T4"},
    ("S4", "S5"): {"T5"},
    ("S4", "S1"): {"T7"},
    ("S5", "S1"): {"T8"},
    ("S5", "S6"): {"T9"},
    ("S7", "S6"): {"T10"},
    ("S5", "S7"): {"T11"},
    ("S7", "S7"): {"T12"},
    ("S6", "S1"): {"T13"},
    ("S6", "S6"): {"T14"},
    ("S5", "S8"): {"T15"},
    ("S7", "S8"): {"T16"},
    ("S6", "S8"): {"T17"},
    ("S7", "S1"): {"T18"},
    ("S8", "S1"): {"M1"},
    ("S8", "R2"): {"M2"},
    ("R2", "S8"): {"M3"},
    ("R2", "S1"): {"M4"},
}


def test_connection_rows_are_the_edges_of_the_diagram():
    edges = {}
    for (state, _), transition in CONNECTION_TRANSITIONS.items():
        edges.setdefault((state.value, transition.state.value), set()).add(transition.label)
    assert edges == DIAGRAM


def test_session_rows_are_the_initiators():
    rows = {(s.value, t.state.value, t.label) for (s, _), t in SESSION_TRANSITIONS.items()}
    assert rows == {
        ("Q1", "Q3", "N1"),
        ("Q3", "Q1", "N3"),
        ("Q4", "Q3", "N4"),
        ("Q3", "Q4", "N5"),
        ("Q4", "Q1", "N6"),
    }


@pytest.mark.parametrize("event", ConnectionEvent)
@pytest.mark.parametrize("state", ConnectionState)
def test_every_connection_state_with_every_event(state, event):
    """D-045: a transition of the RFC or our own error, nothing else."""
    if (state, event) in CONNECTION_TRANSITIONS:
        assert next_connection_state(state, event) == CONNECTION_TRANSITIONS[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=event.name):
            next_connection_state(state, event)


@pytest.mark.parametrize("event", SessionEvent)
@pytest.mark.parametrize("state", SessionState)
def test_every_session_state_with_every_event(state, event):
    if (state, event) in SESSION_TRANSITIONS:
        assert next_session_state(state, event) == SESSION_TRANSITIONS[state, event]
    else:
        with pytest.raises(LocalProtocolError, match=event.name):
            next_session_state(state, event)


def test_no_state_is_a_dead_end():
    """From every state some chain of events leads back to FREE."""
    reaches_free = {ConnectionState.FREE}
    for _ in ConnectionState:
        reaches_free |= {
            s for (s, _), t in CONNECTION_TRANSITIONS.items() if t.state in reaches_free
        }
    assert reaches_free == set(ConnectionState)


@pytest.mark.parametrize(
    ("state", "number", "words"),
    [
        (ConnectionState.FREE, 0, "FREE"),
        (ConnectionState.XPT_WAIT, 1, "TRANSPORT WAIT"),
        (ConnectionState.IN_LOGIN, 2, "IN LOGIN"),
        (ConnectionState.LOGGED_IN, 3, "LOGGED IN"),
        (ConnectionState.IN_LOGOUT, 4, "IN LOGOUT"),
        (ConnectionState.LOGOUT_REQUESTED, 5, "LOGOUT REQUESTED"),
        (ConnectionState.CLEANUP_WAIT, 6, "CLEANUP WAIT"),
        (ConnectionState.IN_CLEANUP, 6, "CLEANUP WAIT"),
    ],
)
def test_words_of_iscsiadm(state, number, words):
    """D-045: what `iscsiadm -m session -P 1` prints."""
    assert (connection_number(state), connection_words(state)) == (number, words)


@pytest.mark.parametrize(
    ("stage", "words"),
    [(0, "NO CHANGE"), (1, "CLEANUP"), (2, "REOPEN"), (3, "REDIRECT"), (4, "Unknown")],
)
def test_stage_words(stage, words):
    assert stage_words(InternalStage(stage)) == words
