"""What it costs to train a model smaller than the best for longer, or the other way round.

`overhead` asks by size: how much more compute another size than the best needs for the same loss.
`overtraining` asks by tokens per parameter: what the budget loses when they are not the best.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import (
    Cost,
    HoldsLaw,
    LossOfND,
    allocate,
    as_law,
    before_axes,
    held_law,
    per_token,
)
from isoloss.laws.forms import Array, Chinchilla, Coefficient, Law, as_coefficient, positive
from isoloss.laws.joint import ChinchillaTied, Overtraining
from isoloss.laws.required import tokens_for_loss
from isoloss.laws.search import LOG_SIZES, Flags, turning

if TYPE_CHECKING:
    from isoloss.laws.provenance import PublishedLaw


@dataclass(frozen=True, eq=False)
class Overhead:
    """Other sizes than the best, trained to its loss.

    size_ratio: n over the best n. n: parameters, d: tokens, token_ratio: d over the best d.
    excess: compute over the budget, less 1, so 0.2 is 20 % more. d, token_ratio and excess are
    infinite where the size cannot reach the loss. Shaped (m,) as the sizes are, (k, m) for k draws.
    """

    size_ratio: Coefficient
    n: Coefficient
    d: Coefficient
    token_ratio: Coefficient
    excess: Coefficient


@dataclass(frozen=True, eq=False)
class Overtrained:
    """A budget spent at given tokens per parameter, held against spending it otherwise.

    ratio: tokens per parameter. n, d: what the budget trains at it. loss: nats; excess_loss: nats
    above the loss held against. excess_compute: how much more than the budget the ratio takes to
    that loss, as a fraction. Shaped (m,) as the ratios are, (k, m) for k draws.
    """

    ratio: Coefficient
    n: Coefficient
    d: Coefficient
    loss: Coefficient
    excess_loss: Coefficient
    excess_compute: Coefficient


def overhead(
    law: Law | HoldsLaw | LossOfND,
    flops: float,
    size_ratio: ArrayLike,
    *,
    cost: Cost | None = None,
) -> Overhead:
    """Return what other sizes than the best need for the loss of the best.

    excess = cost(n) * d / flops - 1, n = size_ratio * n_best, law(n, d) = the budget's least loss.
    law: as in `allocate`, draws too; Overtraining is taken as the law of (n, d) it is. flops: the
    budget of the best. size_ratio: n / n_best, a number or (m,). cost: n -> FLOPs per token,
    default 6 n.
    Returns Overhead. Raises InputError for a bad budget, ratio or law.
    Source: de Vries 2023, "Go smol or go home", whose curve of Chinchilla's law is
    `chinchilla_token_ratio`; Kaplan et al. 2020, Eq. B.16, is the same question.
    """
    found, ratios = _of_size_and_tokens(law), positive(size_ratio, "size_ratio")
    best = allocate(found, flops, cost=cost)
    axes = (1,) * ratios.ndim
    n_best, d_best, loss = (np.reshape(x, np.shape(x) + axes) for x in (best.n, best.d, best.loss))
    n = ratios * n_best
    d = tokens_for_loss(before_axes(found, ratios.ndim), n, loss)
    excess = per_token(n, cost) * d / flops - 1.0
    shaped = (np.broadcast_to(ratios, n.shape), n, d, d / d_best, excess)
    return Overhead(*(as_coefficient(value) for value in shaped))


def overtraining(
    law: Law | HoldsLaw | LossOfND,
    flops: float,
    ratio: ArrayLike,
    *,
    against: float | None = None,
    cost: Cost | None = None,
) -> Overtrained:
    """Return what a budget loses when spent at given tokens per parameter.

    cost(n) * ratio * n = flops gives n; excess_loss = law(n, ratio * n) - loss, and excess_compute
    = cost(m) * ratio * m / flops - 1 with law(m, ratio * m) = loss, the loss held against.
    law, flops, cost: as in `overhead`; cost(n) * n must rise with n. ratio: tokens per parameter, a
    number or (m,). against: the ratio held against, such as 20; by default the budget's best.
    Returns Overtrained; both excesses are negative for a ratio better than `against`.
    Raises InputError for a bad budget, ratio or law.
    Source: Gadre et al. 2024 for the question and, through `Overtraining`, the form: there
    excess_compute is the same at every budget. Their fits are no laws to share out compute by
    (their best ratios are 3 to 7), so hold them against 20, which their runs are about.
    """
    found, ratios = _of_size_and_tokens(law), positive(ratio, "ratio")
    spread = before_axes(found, ratios.ndim)
    if against is None:
        least = allocate(found, flops, cost=cost).loss
        loss = np.reshape(least, np.shape(least) + (1,) * ratios.ndim)
    else:
        allocate(found, flops, cost=cost)  # refuses a bad budget, or what is no law
        base = positive(against, "against")
        size = _size_at(base, flops, cost)
        loss = np.asarray(spread(size, base * size))
    n = _size_at(ratios, flops, cost)
    reached = np.asarray(spread(n, ratios * n))
    same = _size_for_loss(spread, ratios, np.broadcast_to(loss, reached.shape))
    excess = per_token(same, cost) * ratios * same / flops - 1.0
    shaped = (np.broadcast_to(x, reached.shape) for x in (ratios, n, ratios * n))
    return Overtrained(
        *(as_coefficient(value) for value in (*shaped, reached, reached - loss, excess))
    )


def chinchilla_token_ratio(
    law: Chinchilla | ChinchillaTied | PublishedLaw, size_ratio: ArrayLike
) -> Array:
    """Return how many times the best tokens another size needs, by Chinchilla's law at 6 n d.

    k_d = (1 - (beta / alpha) * (k_n ** -alpha - 1)) ** (-1 / beta), the same at every budget, for
    at the optimum A / n ** alpha over B / d ** beta is beta / alpha; compute is k_n * k_d times the
    best. law: Chinchilla or ChinchillaTied. size_ratio: k_n = n / n_best.
    Returns k_d, infinite at and below `least_size_ratio`, where no text is enough.
    Raises InputError for a law of another form or a bad ratio.
    Source: de Vries 2023, who leaves A, B, n and d in; the simplification is ours.
    """
    alpha, beta = _exponents(law)
    ratios = positive(size_ratio, "size_ratio")
    rest = 1.0 - beta / alpha * np.expm1(-alpha * np.log(ratios))
    with np.errstate(divide="ignore"):
        return np.asarray(np.where(rest > 0, np.maximum(rest, 0.0) ** (-1.0 / beta), np.inf))


def least_size_ratio(law: Chinchilla | ChinchillaTied | PublishedLaw) -> Coefficient:
    """Return the share of the best size below which no text reaches its loss, at 6 n d.

    (1 + alpha / beta) ** (-1 / alpha). law: Chinchilla or ChinchillaTied.
    Raises InputError for a law of another form.
    Source: de Vries 2023, the vertical of his curve, where `chinchilla_token_ratio` turns infinite.
    """
    alpha, beta = _exponents(law)
    return (1.0 + alpha / beta) ** (-1.0 / alpha)


def _of_size_and_tokens(source: object) -> Law | LossOfND:
    found = held_law(source)
    return found.tied() if isinstance(found, Overtraining) else as_law(source)


def _exponents(source: object) -> tuple[Coefficient, Coefficient]:
    found = _of_size_and_tokens(source)
    if isinstance(found, ChinchillaTied):
        return found.alpha, found.alpha
    if not isinstance(found, Chinchilla):
        raise InputError(
            f"the closed form is that of Chinchilla's law, not of {type(found).__name__}: "
            "use overhead"
        )
    return found.alpha, found.beta


def _size_at(ratio: Array, flops: float, cost: Cost | None) -> Array:
    """The n at which ratio tokens a parameter cost the budget."""
    if cost is None:
        return np.asarray(np.sqrt(flops / (6.0 * ratio)))
    return _least(lambda n: per_token(n, cost) * ratio * n > flops)


def _size_for_loss(law: Law | LossOfND, ratio: Array, loss: Array) -> Array:
    """The n that reaches a loss on ratio tokens a parameter."""
    return _least(lambda n: np.asarray(law(n, ratio * n)) <= loss)


def _least(enough: Callable[[Array], Flags]) -> Array:
    """The least n at which `enough` turns true, infinite where it never does."""
    _, after = turning(lambda log_n: enough(np.exp(log_n)), *LOG_SIZES)
    return np.where(enough(np.exp(np.asarray(LOG_SIZES[1]))), np.exp(after), np.inf)
