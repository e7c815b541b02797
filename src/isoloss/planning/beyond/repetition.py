"""What to train where there is less text than the budget could read: size, tokens and epochs.

A repeated token is worth less than a new one, and how much less is what runs say least about:
the published runs bound the decay from below and hardly from above, so an answer here is a range.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws import published
from isoloss.laws.allocation import Cost, HoldsLaw, allocate, held_law
from isoloss.laws.forms import Array, Coefficient, as_coefficient
from isoloss.laws.joint import DataConstrained

RIVALS = ((10.0, 7.556), (95.4, 1.706), (200.0, 1.393))
"""(Rd, Rn) that fit the 182 runs of Muennighoff et al. 2023 as well as the published pair does.

The second is the lowest optimum of their objective; the others are its profile at Rd 10 and 200,
0.7 % and 0.1 % above it (the published pair: 0.1 %).
"""

_FLAT = (
    "the published runs hardly bound Rd, what repeats are worth: 15.4 as printed is a local "
    "minimum, 95.4 the lowest, and anything from 10 to 200 fits within 0.7 %; the ranges are those"
)
_OWN = "the answer rests on Rd, what repeats are worth: look at its interval before believing it"


@dataclass(frozen=True, eq=False)
class Repetition:
    """What to train with a budget and so many unique tokens.

    n: parameters, d: tokens seen, epochs: d / unique (below 1 some text is left over). loss: nats.
    worth: of the tokens seen, over as many new ones. Numbers, or arrays (k,) for k draws.
    n_range, epochs_range: of the best choice among the constants that fit the published runs as
    well; loss_range: of this choice among them; None for a law of one's own. note: what bounds it.
    """

    n: Coefficient
    d: Coefficient
    epochs: Coefficient
    loss: Coefficient
    worth: Coefficient
    unique: float
    n_range: tuple[float, float] | None
    epochs_range: tuple[float, float] | None
    loss_range: tuple[float, float] | None
    note: str


def allocate_repeated(
    law: DataConstrained | HoldsLaw, flops: float, unique: float, *, cost: Cost | None = None
) -> Repetition:
    """Find the parameters and epochs of least loss for a budget and a stock of text.

    minimise law(n, d, unique) over n with d = flops / cost(n).
    law: DataConstrained, or what holds one: published.MUENNIGHOFF_2023, a Fit, Draws. flops:
    training FLOPs. unique: tokens there are. cost: n -> FLOPs per token, default 6 n.
    Returns Repetition; with MUENNIGHOFF_2023 its ranges are over `RIVALS` too.
    Raises InputError for a law of another form, a bad budget or a bad number of tokens.
    Source: Muennighoff et al. 2023; the ranges are ours, from their runs. Left out: that
    text can be filtered less, or code mixed in, instead of repeating.
    """
    form = _data_constrained(law)
    stock = checked_stock(unique)
    coefficients = [np.asarray(value) for value in form.coefficients().values()]
    draws = np.broadcast_shapes(*(value.shape for value in coefficients))
    best = allocate(_of_stock(form, stock), np.full(draws, flops), cost=cost)
    epochs = np.asarray(best.d) / stock
    found = Repetition(
        n=best.n,
        d=best.d,
        epochs=as_coefficient(epochs),
        loss=best.loss,
        worth=as_coefficient(worth_of_epochs(form, np.maximum(epochs, 1.0))),
        unique=stock,
        n_range=None,
        epochs_range=None,
        loss_range=None,
        note=_OWN,
    )
    if form is not published.MUENNIGHOFF_2023.law:
        return found
    rivals = [form, *(replace(form, Rd=rd, Rn=rn) for rd, rn in RIVALS)]
    choices = [allocate(_of_stock(rival, stock), flops, cost=cost) for rival in rivals]
    return replace(
        found,
        n_range=_span([float(choice.n) for choice in choices]),
        epochs_range=_span([float(choice.d) / stock for choice in choices]),
        loss_range=_span([float(rival(best.n, best.d, stock)) for rival in rivals]),
        note=_FLAT,
    )


def worth_of_epochs(law: DataConstrained | HoldsLaw, epochs: ArrayLike) -> Array:
    """Return what tokens seen over so many epochs are worth, over as many new ones.

    d_eff / d = (1 + Rd * (1 - exp(-(epochs - 1) / Rd))) / epochs.
    law: as in `allocate_repeated`. epochs: 1 or more, any shape that broadcasts with the law's Rd.
    Raises InputError for fewer epochs, or a law of another form.
    Source: Muennighoff et al. 2023, their D' over D.
    """
    seen, decay = _epochs(epochs), _data_constrained(law).Rd
    return np.asarray((1.0 - decay * np.expm1(-(seen - 1.0) / decay)) / seen)


def worth_of_next_epoch(law: DataConstrained | HoldsLaw, epochs: ArrayLike) -> Array:
    """Return what one more token is worth after so many epochs, over a new one.

    exp(-(epochs - 1) / Rd). law, epochs: as in `worth_of_epochs`, and raises as it does.
    Source: Muennighoff et al. 2023, the slope of D' in D.
    """
    return np.asarray(np.exp(-(_epochs(epochs) - 1.0) / _data_constrained(law).Rd))


def _of_stock(law: DataConstrained, stock: float) -> Callable[[Array, Array], Array]:
    return lambda n, d: law(n, d, stock)


def _data_constrained(source: object) -> DataConstrained:
    found = held_law(source)
    if not isinstance(found, DataConstrained):
        raise InputError(
            f"{type(found).__name__} does not say what repeats are worth: give a DataConstrained, "
            "such as published.MUENNIGHOFF_2023"
        )
    return found


def checked_stock(unique: float, name: str = "unique") -> float:
    """Return the tokens that there are; InputError, by the name they were given, below one."""
    if isinstance(unique, bool) or not (math.isfinite(unique) and unique >= 1):
        raise InputError(f"{name} is {unique:g}; give the tokens there are, such as 25e9")
    return float(unique)


def _epochs(epochs: ArrayLike) -> Array:
    seen = np.asarray(epochs, dtype=np.float64)
    if not np.all(np.isfinite(seen) & (seen >= 1)):
        raise InputError("epochs must be 1 or more: the first sees every token new")
    return seen


def _span(values: list[float]) -> tuple[float, float]:
    return min(values), max(values)
