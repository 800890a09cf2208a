"""An interactive shell on a terminal of its own, to press keys in."""

import os
import pty
import select
import signal
import time

WAIT_S = 60


class Terminal:
    """A running shell. `env` is its whole environment."""

    def __init__(self, words, env):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            try:
                os.execvpe(words[0], words, env)
            finally:
                os._exit(127)
        self._text = ""

    def type(self, text):
        os.write(self._fd, text.encode())

    def read_until(self, mark):
        """Everything shown up to the mark, which is taken away too."""
        deadline = time.monotonic() + WAIT_S
        while mark not in self._text:
            ready, _, _ = select.select([self._fd], [], [], max(0, deadline - time.monotonic()))
            if not ready:
                raise AssertionError(f"{mark!r} does not show up in {self._text!r}")
            self._text += os.read(self._fd, 65536).decode(errors="replace")
        before, _, self._text = self._text.partition(mark)
        return before

    def close(self):
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._fd)
