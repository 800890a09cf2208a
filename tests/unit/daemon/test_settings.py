from __future__ import annotations

import os
from pathlib import Path

import pytest

from pyiscsi.daemon.settings import Settings
from pyiscsi.env import Env


@pytest.fixture
def env(tmp_path: Path) -> Env:
    return Env(config_root=str(tmp_path))


def write(env: Env, *, name: str = "", config: str = "") -> None:
    Path(env.initiatorname_file).write_text(name)
    Path(env.config_file).write_text(config)


def test_values_are_read_from_both_files(env: Env) -> None:
    write(
        env,
        name="## comment\nInitiatorName=iqn.2000-01.example:me\nInitiatorAlias=box\n",
        config="iscsid.safe_logout = Yes\niscsid.ipc_auth_uid = No\n",
    )
    settings = Settings.load(env)
    assert settings == Settings(
        env.config_file, env.initiatorname_file, "iqn.2000-01.example:me", "box", True, False
    )
    assert settings.problems == []


def test_other_paths(env: Env, tmp_path: Path) -> None:
    name, config = tmp_path / "n", tmp_path / "c"
    name.write_text("InitiatorName=iqn.2000-01.example:other\n")
    config.write_text("iscsid.safe_logout=Yes\n")
    settings = Settings.load(env, str(config), str(name))
    assert (settings.config_file, settings.initiatorname_file) == (str(config), str(name))
    assert settings.initiator_name == "iqn.2000-01.example:other"
    assert settings.safe_logout


@pytest.mark.parametrize(
    ("line", "safe_logout"),
    [("Yes", True), ("yes", False), ("No", False), ("Yes # really", False), ("", False)],
)
def test_the_word_is_compared_exactly(env: Env, line: str, safe_logout: bool) -> None:
    write(env, name="InitiatorName=iqn.a:b\n", config=f"iscsid.safe_logout = {line}\n")
    assert Settings.load(env).safe_logout is safe_logout


def test_the_alias_defaults_to_the_node_name(env: Env) -> None:
    """D-010."""
    write(env, name="InitiatorName=iqn.a:b\n")
    assert Settings.load(env).initiator_alias == os.uname().nodename


def test_a_missing_name_is_explained_and_leaves_an_empty_one(env: Env) -> None:
    """D-010: the daemon can go on."""
    settings = Settings.load(env)
    assert settings.initiator_name == ""
    text = "\n".join(settings.problems)
    assert f"can't open InitiatorName configuration file {env.initiatorname_file}" in text
    assert f"can't open InitiatorAlias configuration file {env.initiatorname_file}" in text
    assert (
        f"Warning: InitiatorName file {env.initiatorname_file} does not exist or does not "
        "contain a properly formatted InitiatorName. If using software iscsi"
    ) in text


def test_a_reload_changes_the_same_object(env: Env) -> None:
    """W-27: the initiator name is not fixed at start."""
    settings = Settings.load(env)
    write(env, name="InitiatorName=iqn.a:new\n", config="iscsid.safe_logout = Yes\n")
    settings.reload()
    assert settings.initiator_name == "iqn.a:new"
    assert settings.safe_logout
    assert settings.problems == []


def test_a_reader_that_fails_changes_nothing(env: Env) -> None:
    write(env, name="InitiatorName=iqn.a:b\n")
    settings = Settings.load(env)

    def broken(path: str, key: str) -> tuple[str | None, list[str]]:
        if key == "iscsid.ipc_auth_uid":
            raise RuntimeError
        return "other", []

    with pytest.raises(RuntimeError):
        settings.reload(broken)
    assert settings.initiator_name == "iqn.a:b"
