"""Runs iscsiadm in this process against a temporary machine: roots, no daemon, no kernel."""

import io
import json

from pyiscsi.cli import iscsiadm
from pyiscsi.cli.report import Output


class Answer:
    """What a command answered: status, stdout and stderr as text."""

    def __init__(self, status, out, err):
        self.status = status
        self.out = out
        self.err = err

    def __iter__(self):
        return iter((self.status, self.out, self.err))

    def __repr__(self):
        return f"Answer{(self.status, self.out, self.err)!r}"


def wants_debug(words):
    """Whether a command line asks for text on stderr; all others are silent if they succeed."""
    return any(word.startswith(("-d", "--de")) for word in words)


class Machine:
    """Temporary roots, and iscsiadm run against them."""

    def __init__(self, path, monkeypatch):
        self.path = path
        self.monkeypatch = monkeypatch
        for name in ("etc", "db", "lock", "sys", "proc"):
            (path / name).mkdir()
        for variable, value in {
            "PYISCSI_CONFIG_ROOT": path / "etc",
            "PYISCSI_DB_ROOT": path / "db",
            "PYISCSI_LOCK_DIR": path / "lock",
            "SYSFS_PATH": path / "sys",
            "PYISCSI_PROC_ROOT": path / "proc",
            "PYISCSI_SOCKET": path / "iscsid.sock",
            "PYISCSI_PID_FILE": path / "iscsid.pid",
        }.items():
            monkeypatch.setenv(variable, str(value))
        monkeypatch.delenv("POSIXLY_CORRECT", raising=False)
        self.conf("iscsid.startup = /bin/false")

    def conf(self, *lines):
        (self.path / "etc" / "iscsid.conf").write_text("".join(f"{line}\n" for line in lines))

    def run(self, *words, program="iscsiadm"):
        stdout, stderr = io.BytesIO(), io.BytesIO()
        status = iscsiadm.main([program, *words], Output(stdout, stderr))
        answer = Answer(
            status,
            stdout.getvalue().decode("utf-8", "surrogateescape"),
            stderr.getvalue().decode("utf-8", "surrogateescape"),
        )
        assert status or not answer.err or wants_debug(words), (words, answer)
        return answer

    def run_line(self, line):
        """One word for each blank-separated part."""
        return self.run(*line.split())

    def files(self):
        """Paths below the database root, directories with a slash."""
        root = self.path / "db"
        return {
            f"{found.relative_to(root)}{'/' if found.is_dir() and not found.is_symlink() else ''}"
            for found in root.rglob("*")
        }

    def session(self, sid, target, address, port=3260, iface="default"):
        """Make a running session appear in sysfs."""
        base = self.path / "sys/devices/platform/host7" / f"session{sid}"
        values = {
            f"{base}/iscsi_session/session{sid}": {
                "targetname": target, "tpgt": "1", "state": "LOGGED_IN", "creator": "99",
                "ifacename": iface, "initiatorname": "iqn.x:i",
            },
            f"{base}/connection{sid}:0/iscsi_connection/connection{sid}:0": {
                "address": address, "port": str(port), "persistent_address": address,
                "persistent_port": str(port),
            },
            f"{self.path}/sys/class/scsi_host/host7": {"proc_name": "iscsi_tcp"},
        }  # fmt: skip
        import os
        import pathlib

        for directory, attributes in values.items():
            pathlib.Path(directory).mkdir(parents=True, exist_ok=True)
            for name, value in attributes.items():
                (pathlib.Path(directory) / name).write_text(f"{value}\n")
        for kind in ("session", "connection"):
            name = f"{kind}{sid}" + (":0" if kind == "connection" else "")
            directory = self.path / f"sys/class/iscsi_{kind}"
            directory.mkdir(parents=True, exist_ok=True)
            (found,) = base.rglob(f"iscsi_{kind}/{name}")
            os.symlink(os.path.relpath(found, directory), directory / name)


class FakeClient:
    """Answers of a daemon that does not exist: op -> result, exception, or function of args."""

    def __init__(self, answers):
        self.answers = answers
        self.asked = []

    def request(self, op, args=None, timeout=None):
        self.asked.append((op, json.loads(json.dumps(args or {}))))
        answer = self.answers[op]
        if callable(answer):
            answer = answer(args)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self):
        pass
