"""Processes that make the runs of a study: they end with it, and in silence."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

from isoloss.lab.processes.child import die_with


class Workers(ProcessPoolExecutor):
    """A pool whose processes are started anew (torch is not safe to fork), when there is work."""

    def __init__(self, count: int | None, begin: Callable[..., None] | None = None, *given: Any):
        """count: processes, as many as cores for None. begin: called in each with `given`."""
        super().__init__(count, get_context("spawn"), _begin, (os.getpid(), begin, given))

    def submit(self, function: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        """Have a process call a function."""
        # Ctrl-C is for all processes of a terminal. One that is just beginning would show where it
        # was: it inherits what is held back here, and lets it through once it can end in silence.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return super().submit(function, *given, **named)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(parent: int, begin: Callable[..., None] | None, given: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    die_with(parent)
    if begin is not None:
        begin(*given)
