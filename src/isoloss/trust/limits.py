"""Which ends of an interval the runs set, and which only the ranges in which the fit looks.

Exponents are sought in a range that each law declares. Where draws run to its end the runs set no
bound on the exponent, nor on the scale of its term, and the number there means nothing.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.fitting.design import Design
from isoloss.laws.forms import Along
from isoloss.trust.draws import Draws
from isoloss.trust.quantiles import Interval

Mask = NDArray[np.bool_]

_AT = 1e-6
"""A value this near to an end of its range, as a share of the range, is at that end."""
_MOST = 0.5
"""The runs do not set an end of a scale if this share of the draws beyond it are at such ends."""


def coefficient_interval(draws: Draws, name: str, level: float) -> Interval:
    """Return the interval of a coefficient; an end that the runs do not set is infinite.

    name: of a coefficient of the law. level: the share inside.
    An end of an exponent is not set by the runs if it lies at the end of the exponent's range; one
    of a scale, if an exponent of its term has such an end and most draws beyond it lie there. An
    end of a scale at zero stays: no loss falls with a negative one.
    Raises InputError if level is not between 0 and 1, or the draws do not reach so far.
    """
    found, design = _plain(draws, name, level), draws.fit.design
    if name in design.exponents:
        low, high = _at_ends(design, name, found.low, found.high)
        return _cut(found, bool(low), bool(high))
    values = np.broadcast_to(draws.law.coefficients()[name], len(draws))
    stuck = np.zeros(len(draws), dtype=bool)
    for exponent in _exponents_of(design, name):
        ends, each = _plain(draws, exponent, level), draws.law.coefficients()[exponent]
        if np.any(_at_ends(design, exponent, ends.low, ends.high)):
            stuck |= np.any(_at_ends(design, exponent, each, each), axis=0)
    below, above = stuck[values <= found.low], stuck[values >= found.high]
    return _cut(found, float(found.low) > 0 and _mostly(below), _mostly(above))


def _plain(draws: Draws, name: str, level: float) -> Interval:
    return draws.interval(lambda law: law.coefficients()[name], level)


def _cut(found: Interval, open_low: bool, open_high: bool) -> Interval:
    low = np.asarray(-np.inf) if open_low else found.low
    return Interval(low, found.mid, np.asarray(np.inf) if open_high else found.high)


def _mostly(flags: Mask) -> bool:
    return bool(flags.size) and float(flags.mean()) >= _MOST


def _at_ends(design: Design, exponent: str, low: ArrayLike, high: ArrayLike) -> tuple[Mask, Mask]:
    """Whether values of an exponent are the least, and the most, that a fit may find."""
    least, most = _range(design, exponent)
    margin = _AT * (most - least)
    return np.asarray(low) <= least + margin, np.asarray(high) >= most - margin


def _exponents_of(design: Design, name: str) -> list[str]:
    """The exponents that are sought in the term of a scale."""
    low, high = (bound[None, len(design.scales) :] for bound in design.bounds)
    _, slopes = design.logarithms(0.5 * (low + high))
    return [
        design.exponents[exponent]
        for term, exponent in slopes
        if design.form.scales[term] == name
    ]  # fmt: skip


def _range(design: Design, exponent: str) -> tuple[float, float]:
    """The range in which an exponent is sought, as the law writes the exponent."""
    declared = design.form.exponents[exponent]
    if not isinstance(declared, Along):
        return declared
    least, greatest = design.spans[declared.variable]
    ends = least + math.log(declared.low), greatest + math.log(declared.high)
    low, high = sorted(math.exp(declared.power * end) for end in ends)
    return low, high
