"""The side of the process that works: what it tells, and that it outlives nobody.

Needs nothing beyond Python, so that it can run before anything large is loaded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

Send: TypeAlias = Callable[..., None]
"""Sends an event, its fields given by name, to the process that started this one."""

_PR_SET_PDEATHSIG = 1


def take_over_stdout() -> Send:
    """Keep standard output for events alone: anything else that prints goes to standard error."""
    out = os.dup(1)
    os.dup2(2, 1)

    def send(**event: object) -> None:
        # A short line is written at once, so that lines of several processes do not mix.
        line = json.dumps(event).encode() + b"\n"
        try:
            while line:
                line = line[os.write(out, line) :]
        except OSError:  # nobody listens any more
            os._exit(1)

    return send


def die_with(parent: int) -> None:
    """Let the kernel kill this process, on Linux, when the one with the id `parent` dies."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before we asked to be told
        os._exit(1)


def listen(take: Callable[[Any], None], *, status: int = 0) -> None:
    """Take messages from standard input in a thread, and leave with `status` when it ends.

    Only a living parent holds it open, so the parent's end is noticed in the midst of any work.
    """

    def read() -> None:
        for line in sys.stdin.buffer:
            take(json.loads(line))
        # Leaving at once is always safe: a record is good at every moment, and so is a checkpoint.
        os._exit(status)

    threading.Thread(target=read, name="parent", daemon=True).start()


def pass_on_warnings(send: Send) -> None:
    """Send what a run warns of as a note; what libraries warn of stays on standard error."""
    show = warnings.showwarning

    def pass_on(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if category.__name__ == "RunWarning":  # by its name: its module needs torch
            send(event="note", text=str(message))
        else:
            show(message, category, *where, **more)

    warnings.showwarning = pass_on
