"""A table as read, before anything is known about it, and what one cell of it says."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from isoloss.errors import InputError
from isoloss.units import parse_number

_MISSING = frozenset({"", "nan", "none", "null", "na", "n/a", "-", "<na>", "nat"})


FAR = 1e30
"""No size, number of tokens or loss is above this or below its inverse: beyond lie typing errors,
and the ends of floating point."""


def sensible(values: npt.NDArray[np.float64], far: float = FAR) -> npt.NDArray[np.bool_]:
    """Return which values are finite, positive, and of a size that a measurement may have."""
    good: npt.NDArray[np.bool_] = np.isfinite(values) & (values >= 1 / far) & (values <= far)
    return good


def rule(value: float, far: float = FAR) -> str:
    """Say which rule a number breaks that is not sensible."""
    if math.isfinite(value) and value > 0:
        return f"it must lie between {1 / far:g} and {far:g}"
    return "it must be positive and finite"


@dataclass(frozen=True)
class RawTable:
    """Columns as read, a value per row; `lines` are the rows' lines in a text file."""

    columns: Mapping[str, Sequence[object]]
    source: str = "table"
    lines: tuple[int, ...] | None = None

    def __len__(self) -> int:
        return max((len(values) for values in self.columns.values()), default=0)

    def where(self, row: int) -> str:
        """Name a row for a person: `runs.csv, row 3 (line 4)`."""
        line = f" (line {self.lines[row]})" if self.lines else ""
        return f"{self.source}, row {row + 1}{line}"


def is_missing(value: object) -> bool:
    if value is None:
        return True
    if isinstance(value, numbers.Real):
        return bool(value != value)  # NaN alone; isnan refuses an integer beyond 1e308
    return str(value).strip().lower() in _MISSING


def to_number(value: object) -> float | None:
    """Return a cell as a float: NaN if it is missing, None if it is no number."""
    if isinstance(value, bool):
        return None
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:  # an integer of JSON beyond 1e308
            return math.inf
    if is_missing(value):
        return math.nan
    text = str(value).strip()
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return parse_number(text)
    except InputError:
        return None


def listed(names: Sequence[str], most: int) -> str:
    shown = ", ".join(repr(name) for name in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")
