"""CHAP against LIO: digests, both directions, wrong secrets."""

from __future__ import annotations

import pytest

from tests.kernel import lio, machine
from tests.kernel.checks.conftest import Lab

pytestmark = pytest.mark.guest

IQN = "iqn.2026-11.test:chap"
PORTALS = ["127.0.0.1:3260"]
USER = ("joe", "secret-of-joe-12")
TARGET = ("tgt", "secret-of-tgt-12")
ALGORITHMS = "node.session.auth.chap_algs"


@pytest.fixture
def one_way(lab: Lab) -> Lab:
    """A target that wants CHAP, its record made."""
    lio.create_target(IQN, PORTALS, chap=USER)
    lab.discover()
    return lab


@pytest.fixture
def mutual(lab: Lab) -> Lab:
    """A target that wants CHAP and proves itself."""
    lio.create_target(IQN, PORTALS, chap=USER, mutual=TARGET)
    lab.discover()
    return lab


@pytest.mark.parametrize("algorithm", ["MD5", "SHA1", "SHA256", "SHA3-256"])
def test_one_way_with_each_digest(one_way: Lab, algorithm: str) -> None:
    """D-033: one-way CHAP succeeds with each digest both sides know."""
    one_way.chap(IQN, *USER)
    one_way.set(IQN, {ALGORITHMS: algorithm})
    one_way.login(IQN)
    assert machine.session_value(one_way.only_session(), "state") == "LOGGED_IN"
    assert machine.session_value(one_way.only_session(), "username") == USER[0]


def test_order_of_digests_is_accepted(one_way: Lab) -> None:
    """D-033: a list of digests is offered in its order and the target picks one."""
    one_way.chap(IQN, *USER)
    one_way.set(IQN, {ALGORITHMS: "SHA3-256,SHA256,SHA1,MD5"})
    one_way.login(IQN)
    assert len(machine.session_ids()) == 1


def test_none_configured(one_way: Lab) -> None:
    """D-035: the target wants CHAP, the record has none: 24, at once and not after the window."""
    done = one_way.login(IQN, 24)
    assert "authorization failure" in done.err
    assert machine.session_ids() == []


def test_wrong_own_secret(one_way: Lab) -> None:
    """D-034, D-036: a wrong secret is status 24 (login status 0201)."""
    one_way.chap(IQN, USER[0], "not-the-secret-1")
    done = one_way.login(IQN, 24)
    assert "24 - iSCSI login failed due to authorization failure" in done.err
    assert machine.session_ids() == []


def test_wrong_user(one_way: Lab) -> None:
    """D-036: an unknown name is status 24, too."""
    one_way.chap(IQN, "jane", USER[1])
    one_way.login(IQN, 24)
    assert machine.session_ids() == []


@pytest.mark.parametrize("algorithm", ["MD5", "SHA1", "SHA256", "SHA3-256"])
def test_mutual(mutual: Lab, algorithm: str) -> None:
    """D-034: mutual CHAP succeeds with each digest."""
    mutual.chap(IQN, *USER, *TARGET)
    mutual.set(IQN, {ALGORITHMS: algorithm})
    mutual.login(IQN)
    assert machine.session_value(mutual.only_session(), "username_in") == TARGET[0]


def test_mutual_with_wrong_target_secret(mutual: Lab) -> None:
    """D-034: a target that does not know its own secret is refused with 19."""
    mutual.chap(IQN, *USER, TARGET[0], "not-the-secret-1")
    mutual.login(IQN, 19)
    assert machine.session_ids() == []


def test_mutual_with_wrong_target_name(mutual: Lab) -> None:
    """D-034: the target's name must be the configured one."""
    mutual.chap(IQN, *USER, "someone", TARGET[1])
    mutual.login(IQN, 19)
    assert machine.session_ids() == []


def test_mutual_with_one_secret_for_both(mutual: Lab) -> None:
    """D-034: the same secret in both directions is refused with 19."""
    lio.set_chap(IQN, USER, (TARGET[0], USER[1]))
    mutual.chap(IQN, *USER, TARGET[0], USER[1])
    mutual.login(IQN, 19)
    assert machine.session_ids() == []


def test_mutual_with_wrong_own_secret(mutual: Lab) -> None:
    """D-034: our own wrong secret is 24 in mutual CHAP as well."""
    mutual.chap(IQN, USER[0], "not-the-secret-1", *TARGET)
    mutual.login(IQN, 24)
    assert machine.session_ids() == []


def test_secrets_stay_out_of_sight(mutual: Lab) -> None:
    """Neither listings nor the daemon's log nor error messages show a secret."""
    mutual.chap(IQN, *USER, *TARGET)
    mutual.login(IQN)
    shown = [
        machine.run(f"iscsiadm -m node -T {IQN}").out,
        machine.run("iscsiadm -m session -P 3").out,
        mutual.daemon.text(),
    ]
    for text in shown:
        assert USER[1] not in text
        assert TARGET[1] not in text


def test_discovery(idle_lab: Lab) -> None:
    """D-081: discovery with CHAP; a wrong secret is 24, none is 24."""
    lab = idle_lab
    discovery = "discovery.sendtargets.auth."
    lab.start(f"{discovery}authmethod = CHAP", f"{discovery}username = disc")
    lio.create_target(IQN, PORTALS)
    lio.set_discovery_chap(("disc", "secret-of-disc-1"))
    settings = f"-n {discovery}authmethod -v CHAP -n {discovery}username -v disc"
    database = "-m discoverydb -t st -p 127.0.0.1"
    lab.adm(f"{database} -o new", 0)
    lab.adm(f"{database} -o update {settings} -n {discovery}password -v wrong-secret-12", 0)
    lab.adm(f"{database} -D", 24)
    lab.adm(f"{database} -o update -n {discovery}password -v secret-of-disc-1", 0)
    assert IQN in lab.adm(f"{database} -D", 0).out
