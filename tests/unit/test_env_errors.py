"""Leaf modules: settings of a run, exit statuses and their texts."""

import pytest

from pyiscsi import errors
from pyiscsi.env import Env
from pyiscsi.errors import ExitCode, IpcError, PyIscsiError, error_text


def test_roots_are_independent():
    """DB-009: one root never follows another."""
    env = Env.from_environ({"PYISCSI_DB_ROOT": "/srv/db"})
    assert (env.db_root, env.config_root, env.lock_dir) == (
        "/srv/db",
        "/etc/iscsi",
        "/run/lock/iscsi",
    )
    assert env.config_file == "/etc/iscsi/iscsid.conf"


def test_settings_are_fixed():
    with pytest.raises(AttributeError):
        Env().db_root = "/elsewhere"  # type: ignore[misc]
    with pytest.raises(TypeError, match="bogus"):
        Env(bogus="1")


def test_every_exit_code_has_a_text():
    codes = sorted(v for k, v in vars(ExitCode).items() if k.isupper())
    assert codes == list(range(34))
    assert error_text(24) == "iSCSI login failed due to authorization failure"
    assert error_text(34) == "invalid error code 34"
    assert error_text(-1) == "invalid error code -1"
    assert all(error_text(code) for code in codes[1:])


def test_an_error_without_message_speaks_for_its_status():
    assert str(IpcError(exit_code=ExitCode.REQUEST_TIMED_OUT)) == "iscsid request timed out"
    assert str(PyIscsiError("plain")) == "plain"


def test_every_error_class_has_a_known_status():
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, Exception)]
    assert len(classes) > 15
    assert all(0 < c.exit_code < 34 for c in classes)
