"""How long work shows itself on stderr: a bar on a terminal, elsewhere a line now and then."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from isoloss.cli.output import say
from isoloss.units import format_number

_EVERY = 10.0  # seconds between lines where there is no terminal


class Report(Protocol):
    """Called with what is being done, the amount done and in all (None: unknown), and a note."""

    def __call__(self, what: str, done: float, total: float | None, note: str = "") -> None: ...


@contextmanager
def progress(unit: str = "bytes") -> Iterator[Report]:
    """Show work whose parts are named as they come; `unit` is what the amounts count."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines(unit)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bars:
        tasks: dict[str, TaskID] = {}

        def update(what: str, done: float, total: float | None, note: str = "") -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            text = _line(what, done, total, unit, note)
            bars.update(tasks[what], completed=done, total=total, description=text)

        yield update


class _Lines:
    """A line when a part begins and ends, and every few seconds while it goes on."""

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self._what = ""
        self._told = 0.0

    def __call__(self, what: str, done: float, total: float | None, note: str = "") -> None:
        now = time.monotonic()
        if what == self._what and now - self._told < _EVERY and done != total:
            return
        self._what, self._told = what, now
        say(_line(what, done, total, self._unit, note))


def _line(what: str, done: float, total: float | None, unit: str, note: str) -> str:
    share = f" of {format_number(total)}" if total else ""
    amount = f", {format_number(done)}{share} {unit}" if done else ""
    return f"{what}{amount}{', ' if note else ''}{note}"
