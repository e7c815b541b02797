"""Which values, and which runs, are meant to be one: rounding apart, or but for their seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Array
from isoloss.runs import Runs

SAME = 0.01
"""Values this close, in the logarithm, count as one."""


_CONFIGURATION = ("n", "d", "batch", "lr", "weight_decay", "steps", "unique_tokens")


def levels(logs: Array) -> NDArray[np.intp]:
    """Number values by rising level, from 0: all within 1 % above the lowest of a level are one.

    logs: (m,) natural logarithms. Returns (m,). A level starts at a value, never at the edge of a
    bin, so that no two values of one level are told apart by where they happen to lie.
    """
    order = np.argsort(logs, kind="stable")
    rising = logs[order]
    found = np.empty(len(logs), dtype=np.intp)
    first = level = 0
    while first < len(rising):
        end = int(np.searchsorted(rising, rising[first] + SAME, side="right"))
        found[order[first:end]] = level
        first, level = end, level + 1
    return found


def configurations(runs: Runs) -> NDArray[np.intp]:
    """Number the configurations: (m,), equal for runs that differ at most in their seed."""
    numbers = np.zeros(len(runs), dtype=np.intp)
    for name in _CONFIGURATION:
        column = getattr(runs, name)
        if column is None:
            continue
        _, values = np.unique(column, return_inverse=True)
        _, numbers = np.unique(numbers * (values.max() + 1) + values, return_inverse=True)
    return numbers
