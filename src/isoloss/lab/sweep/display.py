"""Show a sweep on standard error: a live table on a terminal, now and then a plain line elsewhere.

Both are functions of the pictures `run_sweep` hands out (`SweepProgress`). The live one needs
`rich`, loaded when it is first used; without it, and where standard error is a file or a pipe, the
plain one serves.
"""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TextIO

from isoloss.lab.sweep.state import (
    DIVERGED,
    ELSEWHERE,
    FAILED,
    FINISHED,
    RUNNING,
    RunProgress,
    SweepProgress,
)
from isoloss.units import format_number, plural

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

Display = Callable[[SweepProgress], None]

_PLAIN_EVERY = 30.0  # seconds between plain lines that bring no news
_MOST_ROWS = 16  # running runs shown at once


def auto_display(stream: TextIO | None = None) -> Display:
    """The display that suits a stream (standard error if none is given)."""
    stream = stream or sys.stderr
    if stream.isatty() and importlib.util.find_spec("rich") is not None:
        from rich.console import Console

        return live_display(Console(file=stream))
    return plain_display(stream)


def plain_display(stream: TextIO) -> Display:
    """One line for each piece of news, and one now and then for the sweep as a whole."""
    last = 0.0

    def show(picture: SweepProgress) -> None:
        nonlocal last
        lines = list(picture.news)
        if picture.seconds - last >= _PLAIN_EVERY and not picture.over:
            lines.append(_summary(picture))
            last = picture.seconds
        if lines:
            print("\n".join(f"sweep: {line}" for line in lines), file=stream, flush=True)

    return show


def live_display(console: Console) -> Display:
    """A table of the running runs under the news, redrawn in place; it stays when all is over."""
    from rich.live import Live

    live: Live | None = None

    def show(picture: SweepProgress) -> None:
        nonlocal live
        if live is None:
            live = Live(console=console, auto_refresh=False, redirect_stdout=False)
            live.start()
        for line in picture.news:
            live.console.print(line, highlight=False, markup=False)
        live.update(_table(picture), refresh=True)
        if picture.over:
            live.stop()

    return show


def duration(seconds: float) -> str:
    """Write a time as people say it: 8 s, 1 min 40 s, 2 h 05 min."""
    if not math.isfinite(seconds):
        return "an unknown time"
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _summary(picture: SweepProgress) -> str:
    done = picture.count(FINISHED, DIVERGED)
    parts = [
        f"{done} of {plural(len(picture.runs), 'run')} done",
        f"{picture.count(RUNNING)} under way",
    ]
    for state in (DIVERGED, FAILED, ELSEWHERE):
        if picture.count(state):
            parts.append(f"{picture.count(state)} {state}")
    parts.append(f"{duration(picture.seconds)} gone")
    if not picture.over:
        parts.append(f"about {duration(picture.seconds_left)} left")
    return ", ".join(parts)


def _table(picture: SweepProgress) -> RenderableType:
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    running = [run for run in picture.runs if run.state == RUNNING]
    table = Table.grid(padding=(0, 2))
    for _ in range(5):
        table.add_column(no_wrap=True)
    for run in running[:_MOST_ROWS]:
        name = Text(run.run_id, overflow="ellipsis")
        table.add_row(name, _bar(run.step, run.steps), *_numbers(run))
    if len(running) > _MOST_ROWS:
        table.add_row(f"and {len(running) - _MOST_ROWS} more")
    done = picture.count(FINISHED, DIVERGED)
    table.add_row(
        f"all: {done} of {plural(len(picture.runs), 'run')} done",
        _bar(picture.flops_done, picture.flops_total),
    )
    return Group(table, Text(_summary(picture), style="dim"))


def _bar(done: float, total: float) -> RenderableType:
    from rich.progress_bar import ProgressBar

    return ProgressBar(
        total=total,
        completed=done,
        width=24,
        style="bright_black",
        complete_style="cyan",
        finished_style="green",
    )


def _numbers(run: RunProgress) -> tuple[str, str, str]:
    return (
        "" if run.loss is None else f"loss {run.loss:.4f}",
        "" if not run.tokens_per_second else f"{format_number(run.tokens_per_second)} tokens/s",
        "" if run.seconds_left is None else f"{duration(run.seconds_left)} left",
    )
