"""How results leave: a table for people or strict JSON for programs, on stdout; talk on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from isoloss.cli.wording import in_options
from isoloss.errors import Status
from isoloss.files import write_whole
from isoloss.units import format_number

if TYPE_CHECKING:
    from isoloss.fitting import Finding
    from isoloss.planning import Estimate
    from isoloss.runs import Runs

_LONG = 10_000_000
"""Rows times draws from which resampling takes more than some seconds."""

_WIDTH = 80
"""The columns that tables fit in, as where there is no terminal."""


def say(message: str) -> None:
    """Talk to the person: one line on stderr."""
    print(in_options(message), file=sys.stderr, flush=True)


def say_long(rows: int, draws: int) -> None:
    """Say before a large table is resampled that this takes long."""
    if rows * draws > _LONG:
        say(f"resampling {rows:,} rows {draws:,} times; fewer --draws take less time")


def show(*parts: object) -> None:
    """Print tables and lines on stdout; without a terminal at 80 columns and without colour."""
    console = Console(highlight=False, markup=False, emoji=False)
    for part in parts:
        console.print(part)


def table(*columns: str, rows: Iterable[Iterable[object]], title: str | None = None) -> Table:
    """Build a table; a column whose name begins with `>` is set flush right."""
    # A narrow table would break its title into a column of words.
    width = min(len(title or ""), _WIDTH) or None
    made = Table(
        title=title, box=SIMPLE_HEAD, title_justify="left", title_style="bold", min_width=width
    )
    for place, column in enumerate(columns):
        right = column.startswith(">")
        # Names come first and are never broken: they are what one types next.
        made.add_column(
            column.removeprefix(">"), justify="right" if right else "left", no_wrap=place == 0
        )
    for row in rows:
        made.add_row(*("" if cell is None else str(cell) for cell in row))
    return made


def doubts(status: Iterable[Status], findings: Iterable[Finding] = ()) -> list[str]:
    """Write every doubt with its advice, and what was seen in the runs and where."""
    return [
        *(f"doubt ({one.code}): {in_options(one.value)}" for one in status),
        *(f"seen ({one.code.code}): {in_options(one.detail)}" for one in findings),
    ]


def interval(low: float, high: float) -> str:
    """Write the ends of an interval for people."""
    return f"{format_number(float(low))} - {format_number(float(high))}"


def estimate(value: Estimate | None, form: str | None = None, *, scale: float = 1.0) -> str:
    """Write a number of a plan with its interval; a dash where there is none.

    form: as of `str.format`; else as people read it. scale: what it is divided by.
    """
    if value is None:
        return "-"

    def write(number: float) -> str:
        return form.format(number / scale) if form else format_number(number / scale)

    if value.low is None or value.high is None:
        return write(value.mid)
    return f"{write(value.mid)} ({write(value.low)} - {write(value.high)})"


def emit_json(value: object) -> None:
    """Print strict JSON on stdout."""
    print(to_json(value))


def write_json(path: Path, value: object) -> None:
    """Write strict JSON to a file, whole or not at all."""
    write_whole(path, to_json(value) + "\n")


def to_json(value: object) -> str:
    """Turn a result into strict JSON: a dataclass by its field names, no NaN, no infinity."""
    return json.dumps(plain(value), allow_nan=False, indent=1)


def plain(value: Any) -> Any:
    """Turn a result into what JSON knows; a number that is not finite becomes null."""
    if isinstance(value, Status):
        return {"code": value.code, "advice": value.value}
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, type):
        return value.__name__
    if isinstance(value, Path):
        return value.as_posix()
    if is_dataclass(value):
        from isoloss.runs import Runs as Table  # slow, and a plan from papers has none

        if isinstance(value, Table):
            return _runs(value)
        if hasattr(value, "to_dict"):  # a spec or a shape, as its file has it
            return plain(value.to_dict())
        # A field that a dataclass does not show is its own business (the solver's arrays).
        return {f.name: plain(getattr(value, f.name)) for f in fields(value) if f.repr}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return str(value)


def _runs(runs: Runs) -> dict[str, Any]:
    """What a table of runs is, without its rows: enough to know it again."""
    return {
        "rows": len(runs),
        "hash": runs.hash,
        "source": runs.source,
        "n_convention": runs.n_convention,
        "c_convention": runs.c_convention,
        "loss_unit": runs.loss_unit,
        "notes": list(runs.notes),
    }
