"""Where a smooth curve is lowest, and where a test turns true, for many of them in lock step."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.laws.forms import Array

Flags = NDArray[np.bool_]

LOG_SIZES = (0.0, math.log(1e18))
"""Where sizes are looked for: ln of one parameter, and of more than anyone will train."""

LOG_TOKENS = (0.0, math.log(1e40))
"""Where tokens are looked for, likewise."""

_GOLDEN = (math.sqrt(5) - 1) / 2
_GOLDEN_STEPS = 45
_STENCIL = 0.03
_ROUNDING = 64  # ulp of the curve


def minimum(curve: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """Return where a curve is lowest between low and high.

    curve: from an array to an array of its shape, each element a problem of its own, with one
    minimum between its ends; smooth over some 0.1, so that logarithms of sizes are in place.
    Golden sections close in; Newton steps on a seven-point derivative remove the last error, which
    comparing values alone cannot (a minimum is flat to rounding over 1e-7).
    """
    return _polish(curve, _golden(curve, low, high))


def turning(
    turned: Callable[[Array], Flags | bool], start: ArrayLike, end: ArrayLike, *, steps: int = 60
) -> tuple[Array, Array]:
    """Return the places just before and just after a test turns true, by bisection.

    turned: from places to flags, of the places' shape or one that they broadcast to, each element a
    problem of its own: false at start, true at end, and turning once between. start, end: either
    may be the greater; logarithms of sizes. steps: halvings; 60 leave nothing of a range of 100.
    """
    before, after = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    for _ in range(steps):
        middle = 0.5 * (before + after)
        true = np.asarray(turned(middle), dtype=bool)
        before, after = np.where(true, before, middle), np.where(true, middle, after)
    return before, after


def _golden(curve: Callable[[Array], Array], low: Array, high: Array) -> Array:
    """The minimum within [low, high] by golden sections, all problems in step."""
    left = high - _GOLDEN * (high - low)
    right = low + _GOLDEN * (high - low)
    at_left, at_right = curve(left), curve(right)
    for _ in range(_GOLDEN_STEPS):
        falls = at_left < at_right
        low, high = np.where(falls, low, left), np.where(falls, right, high)
        width = _GOLDEN * (high - low)
        fresh = np.where(falls, high - width, low + width)
        value = curve(fresh)
        left, right = np.where(falls, fresh, right), np.where(falls, left, fresh)
        at_left, at_right = np.where(falls, value, at_right), np.where(falls, at_left, value)
    return np.asarray((low + high) / 2)


def _polish(curve: Callable[[Array], Array], start: Array) -> Array:
    """Newton steps to a zero of the slope, kept only where the curve does not rise measurably."""
    u, h = start, _STENCIL
    for _ in range(3):
        values = [curve(u + k * h) for k in range(-3, 4)]
        with np.errstate(invalid="ignore", divide="ignore"):
            slope = _weigh(values, (-1, 9, -45, 0, 45, -9, 1)) / (60 * h)
            bend = _weigh(values, (2, -27, 270, -490, 270, -27, 2)) / (180 * h * h)
            step = np.where(bend > 0, -slope / bend, 0.0)
        u = u + np.where(np.abs(step) <= h, step, 0.0)
    # Where the cost has a kink the slope jumps and Newton misleads; the golden section does not.
    # The golden section ends where rounding happened to be lowest, so a few ulp are no rise.
    before, after = curve(start), curve(u)
    with np.errstate(invalid="ignore"):
        return np.where(after <= before + _ROUNDING * np.spacing(before), u, start)


def _weigh(values: list[Array], weights: tuple[int, ...]) -> Array:
    total = weights[0] * values[0]
    for value, weight in zip(values[1:], weights[1:], strict=True):
        total = total + weight * value
    return total
