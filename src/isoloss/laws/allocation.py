"""How to split a budget of compute between model size and tokens, and how sharp that optimum is.

    minimise law(n, d)  subject to  cost(n) * d = flops

`allocate` gives the best size; `near_optimal` the sizes that are as good for practical purposes,
which is the more useful answer: the optimum is flat. Chinchilla's law at 6 FLOPs per parameter and
token has a closed form; every other law, or any cost, is minimised over u = ln n: a grid brackets
the minimum, golden sections close in on it, and Newton steps on a seven-point derivative remove
the last error, which comparing losses alone cannot (a minimum is flat to rounding over 1e-7).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, cast

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, Chinchilla, Coefficient, Law
from isoloss.laws.search import Flags, minimum, turning

Cost = Callable[[Array], ArrayLike]
LossOfND = Callable[[Array, Array], ArrayLike]

_GRID_STEP = 0.25
_BLOCK = 1_000_000
_BISECTIONS = 42


class HoldsLaw(Protocol):
    """Anything that holds a law: a PublishedLaw, a Fit, Draws."""

    @property
    def law(self) -> object: ...


@dataclass(frozen=True)
class Allocation:
    """The best split of a budget.

    n: parameters, d: tokens, c: FLOPs, loss: nats per token; numbers for one law and one budget,
    else arrays of shape (draws..., budgets...).
    at_edge: where a draw's loss has no minimum inside n >= 1 and d >= 1; n and d are then the end
    they run to, so that quantiles over draws stay honest.
    """

    n: Coefficient
    d: Coefficient
    c: Coefficient
    loss: Coefficient
    at_edge: bool | Flags = False


def allocate(
    law: Law | HoldsLaw | LossOfND, flops: ArrayLike, *, cost: Cost | None = None
) -> Allocation:
    """Find the parameters and tokens of least loss for a budget of training compute.

    minimise law(n, d) over n with d = flops / cost(n). For Chinchilla and cost 6 n:
    n = G (C/6) ** (beta/(alpha+beta)), G = (alpha A / (beta B)) ** (1/(alpha+beta)).
    law: a law of (n, d), anything holding one, or any function (n, d) -> loss on arrays; its
    coefficients may be arrays (k,), a law per draw. flops: FLOPs, a number or an array (m,).
    cost: n -> training FLOPs per token, on arrays, default 6 n.
    Returns Allocation; k draws and m budgets give arrays (k, m), k draws and one number (k,).
    Raises InputError for a bad budget, a law that is not of (n, d), a cost that is not finite and
    positive, or a law without an optimum inside n >= 1 and d >= 1 (for draws: if none has one).
    Source: Hoffmann et al. 2022, Eq. 4 (closed form). Memory, data limits and serving are left out.
    """
    found = as_law(law)
    budget = _budgets(flops)
    laws, shape = _outer(found, budget)
    budget = np.broadcast_to(budget, shape)
    if isinstance(laws, Chinchilla) and cost is None:
        log_n, at_edge = _closed_form(laws, budget)
    else:
        log_n, at_edge = _minimise(laws, budget, cost)
    _refuse_edges(found, budget, at_edge, flops)
    n = np.exp(log_n)
    d = budget / per_token(n, cost)
    loss = np.broadcast_to(np.asarray(laws(n, d), dtype=np.float64), shape)
    if shape == ():
        return Allocation(float(n), float(d), float(budget), float(loss))
    return Allocation(n, d, budget.copy(), loss.copy(), at_edge)


def near_optimal(
    law: Law | HoldsLaw | LossOfND,
    flops: ArrayLike,
    *,
    excess: float = 0.05,
    worse: float = 0.0,
    cost: Cost | None = None,
) -> tuple[Coefficient, Coefficient]:
    """Find the sizes that reach the optimum's loss, or nearly, with at most `excess` more compute.

    n is in the range if law(n, (1 + excess) * flops / cost(n)) <= (1 + worse) * min over n' of
    law(n', flops / cost(n')). The range is the one that holds the optimum, cut at n = 1 and d = 1.
    law, flops, cost: as in `allocate`. excess: a fraction, 0.05 being 5 %. worse: a fraction of the
    loss; with excess 0 the sizes whose loss at the budget is as good.
    Returns (n_low, n_high) in parameters, shaped as `allocate` shapes n.
    Raises InputError as `allocate` does, or if the fractions are not both finite and one positive.
    Source: the question is Kaplan et al. 2020, Eq. B.16 and Fig. 12, asked of any law and cost.
    """
    for name, value in (("excess", excess), ("worse", worse)):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{name} is {value}; give a positive fraction such as 0.05 for 5 %")
    if excess == 0 and worse == 0:
        raise InputError("excess is 0; give a positive fraction such as 0.05 for 5 %")
    best = allocate(law, flops, cost=cost)
    budget = _budgets(flops)
    laws, shape = _outer(as_law(law), budget)
    loss_of = _loss_along(laws, np.broadcast_to(budget, shape) * (1 + excess), cost)
    centre = np.log(np.asarray(best.n))
    ends = _log_n_limit(budget * (1 + excess))
    target = np.asarray(best.loss) * (1 + worse)
    low, high = (np.exp(_crossing(loss_of, target, centre, end)) for end in (0.0, ends))
    if shape == ():
        return float(low), float(high)
    return low, high


def as_law(source: object) -> Law | LossOfND:
    """Return the law that `source` is or holds, checked to be callable as law(n, d).

    source: a law, anything with a `.law` (PublishedLaw, Fit, Draws), or a function (n, d) -> loss.
    Raises InputError for anything else, or for a law of other variables.
    """
    found = held_law(source)
    variables = getattr(source, "variables", getattr(found, "variables", ("n", "d")))
    if not callable(found) or isinstance(found, type):
        what = (
            f"the class {source.__name__}"
            if isinstance(source, type)
            else f"a {type(source).__name__}"
        )
        raise InputError(
            f"{what} is not a law: give a law such as Chinchilla(E, A, B, alpha, beta)"
        )
    if tuple(variables) != ("n", "d"):
        of = ", ".join(variables)
        raise InputError(
            f"{_name(found)} is a law of ({of}), which cannot share out compute: "
            "give a law of (n, d), such as Chinchilla"
        )
    return cast("Law | LossOfND", found)


def per_token(n: Array, cost: Cost | None) -> Array:
    """Return the training FLOPs per token at n parameters: 6 n, or what the cost says.

    Raises InputError where the cost is not positive and finite.
    """
    if cost is None:
        return 6 * n
    found = np.asarray(cost(n), dtype=np.float64)
    if not (np.isfinite(found).all() and (found > 0).all()):
        raise InputError("cost must give a positive, finite number of FLOPs per token at every n")
    return found


def before_axes(law: Law | LossOfND, axes: int) -> Law | LossOfND:
    """Return a law of draws with so many axes of one behind those of its coefficients.

    So that it can be called on arrays of that many axes, the draws' axes first; any other law as
    it is.
    """
    if not isinstance(law, Law):
        return law
    arrays = {k: np.asarray(v, dtype=np.float64) for k, v in law.coefficients().items()}
    drawn = np.broadcast_shapes(*(v.shape for v in arrays.values()))
    if drawn == ():
        return law
    shape = drawn + (1,) * axes
    return replace(law, **{k: np.broadcast_to(v, drawn).reshape(shape) for k, v in arrays.items()})


def held_law(source: object) -> object:
    """Return what a PublishedLaw, a Fit or Draws holds, and anything else as it is."""
    while (held := getattr(source, "law", None)) is not None:
        source = held
    return source


def _name(law: object) -> str:
    return type(law).__name__ if isinstance(law, Law) else "the law"


def _budgets(flops: ArrayLike) -> Array:
    """The budgets as an array, refused unless they are positive and finite."""
    try:
        budget = np.asarray(flops, dtype=np.float64)
    except (TypeError, ValueError):
        raise InputError(f"flops is {flops!r}; give FLOPs as a number such as 1e21") from None
    bad = ~(np.isfinite(budget) & (budget > 0))
    if bad.any() or budget.size == 0:
        value = budget[bad].flat[0] if bad.any() else "empty"
        raise InputError(f"flops is {value}; give a positive, finite number of FLOPs such as 1e21")
    return budget


def _refuse_edges(law: object, budget: Array, at_edge: Flags, flops: ArrayLike) -> None:
    """Raise where no draw has an optimum at some budget."""
    over_draws = tuple(range(budget.ndim - np.ndim(flops)))
    hopeless = np.broadcast_to(at_edge.all(axis=over_draws), np.shape(flops))
    if hopeless.any():
        first = float(np.asarray(flops, dtype=np.float64)[hopeless].flat[0])
        raise InputError(
            f"{_name(law)} has no best size at {first:.3g} FLOPs: its loss falls all the way to "
            "one parameter or one token; give a larger budget, or a law that falls with both"
        )


def _outer(law: Law | LossOfND, budget: Array) -> tuple[Law | LossOfND, tuple[int, ...]]:
    """The law with its coefficients' axes put before the budgets' axes, and the joint shape."""
    law = before_axes(law, budget.ndim)
    if not isinstance(law, Law):
        return law, budget.shape
    drawn = np.broadcast_shapes(*(np.shape(value) for value in law.coefficients().values()))
    return law, drawn[: len(drawn) - budget.ndim] + budget.shape


def _log_n_limit(budget: Array) -> float:
    """Where to stop looking: a cost below a thousandth of n per token is no language model."""
    return math.log(float(budget.max())) + math.log(1e3)


def _loss_along(law: Law | LossOfND, budget: Array, cost: Cost | None) -> Callable[[Array], Array]:
    """The loss as a function of u = ln n at fixed compute; infinite where no token fits."""

    def loss(u: Array) -> Array:
        n = np.exp(u)
        d = budget / per_token(n, cost)
        values = np.asarray(law(n, np.maximum(d, 1.0)), dtype=np.float64)
        return np.where((d >= 1) & ~np.isnan(values), values, np.inf)

    return loss


def _closed_form(law: Chinchilla, budget: Array) -> tuple[Array, Flags]:
    """ln n at the optimum of E + A/n^alpha + B/d^beta with 6 n d = budget, and where it is cut."""
    A, B, alpha, beta = (
        np.asarray(x, dtype=np.float64) for x in (law.A, law.B, law.alpha, law.beta)
    )
    with np.errstate(divide="ignore", invalid="ignore"):
        log_g = np.log(alpha * A) - np.log(beta * B)
        log_n = (log_g + beta * np.log(budget / 6)) / (alpha + beta)
        log_n = np.where((alpha > 0) & (beta > 0), log_n, np.nan)
    # A loss that falls with neither n nor d has no optimum: it counts as one at the lower end.
    log_n = np.nan_to_num(np.broadcast_to(log_n, budget.shape), nan=0.0)
    top = np.log(budget / 6)
    at_edge = (log_n <= 0) | (log_n >= top)
    return np.where(at_edge, np.clip(log_n, 0.0, np.maximum(top, 0.0)), log_n), at_edge


def _minimise(law: Law | LossOfND, budget: Array, cost: Cost | None) -> tuple[Array, Flags]:
    """ln n at the least loss along each budget, and where it ends at a limit."""
    loss_of = _loss_along(law, budget, cost)
    grid = np.arange(0.0, _log_n_limit(budget) + 2 * _GRID_STEP, _GRID_STEP)
    best = np.zeros(budget.shape, dtype=np.int64)
    last = np.zeros(budget.shape, dtype=np.int64)
    least = np.full(budget.shape, np.inf)
    block = max(1, _BLOCK // budget.size)
    for start in range(0, len(grid), block):
        u = grid[start : start + block].reshape((-1,) + (1,) * budget.ndim)
        values = np.broadcast_to(loss_of(u), (len(u), *budget.shape))
        lowest = values.argmin(axis=0)
        value = np.take_along_axis(values, lowest[None], axis=0)[0]
        best = np.where(value < least, start + lowest, best)
        least = np.minimum(value, least)
        fits = np.isfinite(values)
        final = len(u) - 1 - fits[::-1].argmax(axis=0)
        last = np.where(fits.any(axis=0), start + final, last)
    at_edge = (best == 0) | (best >= last)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, len(grid) - 1)]
    found = minimum(loss_of, low, high)
    return np.where(at_edge, grid[best], found), at_edge


def _crossing(loss_of: Callable[[Array], Array], target: Array, centre: Array, end: float) -> Array:
    """The u between centre and end at which the loss rises through target, nearest to centre."""
    toward = np.sign(end - centre)
    inside, outside = centre, centre + toward * _GRID_STEP
    for _ in range(int(math.log2(1 + abs(end) + float(np.abs(centre).max())) + 4)):
        held = loss_of(_within(outside, end, toward)) <= target
        if not held.any():
            break
        inside = np.where(held, outside, inside)
        outside = np.where(held, centre + 2 * (outside - centre), outside)
    inside, outside = _within(inside, end, toward), _within(outside, end, toward)
    return turning(lambda u: loss_of(u) > target, inside, outside, steps=_BISECTIONS)[0]


def _within(u: Array, end: float, toward: Array) -> Array:
    """u, but not beyond end in the direction walked."""
    return np.where(toward * (u - end) > 0, end, u)
