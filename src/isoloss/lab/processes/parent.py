"""The side of the process that started another."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, Any

from isoloss.errors import IsolossError

GONE = {"event": "gone"}
"""The last event of every process, when its standard output has ended."""

_GUESSES = {"SIGKILL": " (out of memory?)", "SIGBUS": " (was a file of token ids cut short?)"}
_LAST_WORDS = 16384  # bytes of standard error that are looked at


class Child:
    """A Python module run as a process; its events are given to `take` as they come."""

    def __init__(
        self,
        module: str,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        take: Callable[[dict[str, Any]], None],
    ) -> None:
        # A file, not a pipe: nobody need read it while the process lives.
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=environment,
            )
        except OSError as error:
            self._errors.close()
            raise IsolossError(
                f"cannot start a process ({error.strerror}); use fewer workers"
            ) from None
        self.pid = self._process.pid
        self._reader = threading.Thread(target=self._read, args=(take,), daemon=True)
        self._reader.start()

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message to its standard input."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has just died: the reader says so in a moment
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()

    def end(self) -> None:
        """Kill the process, whatever it does, and release what belongs to it."""
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout, self._errors):
            with contextlib.suppress(OSError):
                assert stream is not None
                stream.close()

    def how_it_died(self) -> str:
        """Words for the end of a process that is gone: the signal, or the last line it printed."""
        status = self._process.wait()
        if status < 0:
            return killed_by(-status)
        lines = last_words(self._errors).splitlines()
        return f"exited with status {status}" + (f": {lines[-1].strip()}" if lines else "")

    def _read(self, take: Callable[[dict[str, Any]], None]) -> None:
        assert self._process.stdout is not None
        for event in events_in(self._process.stdout):
            take(event)
        take(dict(GONE))


def events_in(stream: IO[bytes]) -> Iterator[dict[str, Any]]:
    """The events that processes send, one on each line; anything else is passed over."""
    for line in stream:
        with contextlib.suppress(ValueError):  # the last line of a killed process may be torn
            event = json.loads(line)
            if isinstance(event, dict):
                yield event


def killed_by(number: int) -> str:
    """Words for a death by a signal, with the likeliest reason."""
    try:
        name = signal.Signals(number).name
    except ValueError:  # one without a name of its own
        name = f"signal {number}"
    return f"killed by {name}" + _GUESSES.get(name, "")


def last_words(errors: IO[bytes]) -> str:
    """The end of what was printed on standard error, which went to this file."""
    size = errors.seek(0, os.SEEK_END)
    errors.seek(max(0, size - _LAST_WORDS))
    return errors.read().decode(errors="replace").strip()
