"""Which values are meant to be one: sizes, token counts and rates that differ by rounding only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from isoloss.laws.forms import Array

SAME = 0.01
"""Values this close, in the logarithm, count as one."""


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
