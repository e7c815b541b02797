"""What too little text costs: overfitting, the tokens that avoid it, and when to stop early.

    deltaL(N, D) = L(N, D) / L(N, infinity) - 1

For Kaplan's law it depends on N^(alpha_N/alpha_D) / D alone, so the tokens that keep it below a
penalty are a power of N; for any other law of (n, d) that falls with d the same is found by
bisection.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import HoldsLaw, LossOfND, as_law
from isoloss.laws.forms import Array, KaplanND, Law
from isoloss.laws.relations import KaplanNS

PENALTY = 0.02
"""About what seeds differ by in Kaplan's runs: less overfitting than this cannot be seen."""

_LOWEST, _HIGHEST = 0.0, 200.0  # ln d
_HALVINGS = 60


def overfitting(law: Law | HoldsLaw | LossOfND, n: ArrayLike, d: ArrayLike) -> Array:
    """Return by what fraction the loss lies above that of unlimited text.

    deltaL = L(n, d) / L(n, infinity) - 1; for KaplanND
    (1 + (n / Nc) ** (alpha_n / alpha_d) * Dc / d) ** alpha_d - 1.
    law: of (n, d), anything holding one, or a function that takes d = infinity. n: parameters. d:
    tokens, of text that is not seen twice; both broadcast, as the law's coefficients do.
    Raises InputError for other input.
    Source: Kaplan et al. 2020, Eqs 4.2 and 4.3. Left out: what more epochs add, which is
    `DataConstrained`.
    """
    found = as_law(law)
    sizes, tokens = _positive(n, "n"), _positive(d, "d")
    if isinstance(found, KaplanND):
        share = (sizes / found.Nc) ** (found.alpha_n / found.alpha_d) * found.Dc / tokens
        return np.asarray(np.expm1(found.alpha_d * np.log1p(share)))
    return np.asarray(np.asarray(found(sizes, tokens)) / _unlimited(found, sizes) - 1)


def tokens_needed(
    law: Law | HoldsLaw | LossOfND, n: ArrayLike, penalty: ArrayLike = PENALTY
) -> Array:
    """Return the tokens at which a model of n parameters overfits by just `penalty`.

    For KaplanND d = Dc (n / Nc) ** (alpha_n / alpha_d) / ((1 + penalty) ** (1 / alpha_d) - 1); for
    other laws the d where `overfitting` is the penalty, infinity where none is enough.
    law, n: as in `overfitting`. penalty: a fraction above zero.
    Raises InputError for other input, or a law without a positive loss at unlimited tokens.
    Source: Kaplan et al. 2020, Eq. 4.4, whose 5e3 n ** 0.74 is this at 0.02.
    """
    found = as_law(law)
    sizes, most = _positive(n, "n"), _positive(penalty, "penalty")
    if isinstance(found, KaplanND):
        scale = np.expm1(np.log1p(most) / found.alpha_d)
        return np.asarray(found.Dc * (sizes / found.Nc) ** (found.alpha_n / found.alpha_d) / scale)
    goal = (1 + most) * _unlimited(found, sizes)
    low, high = np.full(goal.shape, _LOWEST), np.full(goal.shape, _HIGHEST)
    reached = np.asarray(found(sizes, np.exp(high))) <= goal
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        enough = np.asarray(found(sizes, np.exp(middle))) <= goal
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(reached, np.exp(high), np.inf)


def earliest_stop(
    law: Law | HoldsLaw | LossOfND, steps: KaplanNS | HoldsLaw, n: ArrayLike, d: ArrayLike
) -> Array:
    """Return the least optimizer steps before a run on d tokens is rightly stopped early.

    S_stop >= Sc / (L(n, d) - L(n, infinity)) ** (1 / alpha_s): with unlimited text the loss would
    reach L(n, d) there, and with less text it is no faster.
    law: of (n, d), as in `overfitting`. steps: of (n, s_min), fitted to the same text, or a fit
    that holds it. n: parameters. d: tokens of text, seen as often as it takes.
    Returns steps at a batch far above critical (s_min); infinity where nothing is lost to d.
    Raises InputError for other input, or a law without a positive loss at unlimited tokens.
    Source: Kaplan et al. 2020, Eq. 5.7 and appendix D.1. It is a bound, not an estimate.
    """
    found = as_law(law)
    sizes, tokens = _positive(n, "n"), _positive(d, "d")
    curve = _of_steps(steps)
    gap = np.asarray(found(sizes, tokens)) - _unlimited(found, sizes)
    with np.errstate(divide="ignore"):
        return np.asarray(curve.Sc * np.maximum(gap, 0.0) ** (-1 / curve.alpha_s))


def _of_steps(source: object) -> KaplanNS:
    found = source
    while (held := getattr(found, "law", None)) is not None:
        found = held
    if not isinstance(found, KaplanNS):
        what = found.__name__ if isinstance(found, type) else f"a {type(found).__name__}"
        raise InputError(f"steps is a KaplanNS or a fit of one, not {what}")
    return found


def _unlimited(law: Law | LossOfND, n: Array) -> Array:
    loss = np.asarray(law(n, np.full_like(n, np.inf)), dtype=np.float64)
    if not np.all(np.isfinite(loss) & (loss > 0)):
        raise InputError("the law has no positive loss at unlimited tokens; give one that has")
    return loss


def _positive(values: ArrayLike, name: str) -> Array:
    array = np.asarray(values, dtype=np.float64)
    if not np.all(array > 0):
        raise InputError(f"{name} must be positive")
    return array
