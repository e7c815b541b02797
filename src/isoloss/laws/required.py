"""How much compute a loss takes: at a given size, and at the best one.

The inverse of `allocation`: there a budget is given and the loss sought, here the loss is given.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND, as_law, before_axes, per_token
from isoloss.laws.forms import Array, Chinchilla, Law, positive
from isoloss.laws.search import LOG_SIZES, LOG_TOKENS, Flags, minimum, turning

_SIZES = 73


def compute_at_size(
    law: Law | HoldsLaw | LossOfND, n: ArrayLike, loss: ArrayLike, *, cost: Cost | None = None
) -> Array:
    """Return the training FLOPs with which models of n parameters reach a loss.

    cost(n) * d where law(n, d) = loss; infinite where the size cannot reach it.
    law: as in `allocate`; it falls with d. n: parameters, a number or (m,). loss: nats, a number,
    or one for each of the k draws of the law, (k,). cost: n -> FLOPs per token, default 6 n.
    Returns FLOPs, (m,) or (k, m), without the axis of what is a number.
    Raises InputError for a bad size or loss, or what is no law of (n, d).
    Source: for Chinchilla's law the closed form, else bisection of ln d.
    """
    sizes, target = positive(n, "n"), positive(loss, "loss")
    if target.ndim:
        target = target.reshape(target.shape + (1,) * sizes.ndim)
    tokens = tokens_for_loss(before_axes(as_law(law), sizes.ndim), sizes, target)
    return np.asarray(per_token(sizes, cost) * tokens)


def compute_for_loss(
    law: Law | HoldsLaw | LossOfND, loss: float, *, cost: Cost | None = None
) -> Array:
    """Return the least training FLOPs that reach a loss, at the best size.

    min over n of compute_at_size(n); infinite where no size reaches it.
    law, cost: as in `allocate`; a law of k draws gives (k,). loss: nats.
    Raises InputError for a bad loss, or what is no law of (n, d).
    Source: the same optimum as Hoffmann et al. 2022, Eq. 4, with budget and loss exchanged.
    """
    target = float(positive(loss, "loss"))

    def needed(log_n: Array) -> Array:
        """ln FLOPs at sizes of one axis, or with the draws' axis first."""
        n = np.exp(log_n)
        return np.asarray(np.log(per_token(n, cost) * tokens_for_loss(law, n, target)))

    grid = np.linspace(*LOG_SIZES, _SIZES)
    values = np.log(compute_at_size(law, np.exp(grid), target, cost=cost))
    best = np.argmin(values, axis=-1)
    low, high = grid[np.maximum(best - 1, 0)], grid[np.minimum(best + 1, _SIZES - 1)]
    return np.asarray(np.exp(needed(minimum(needed, low, high))))


def tokens_for_loss(law: Law | HoldsLaw | LossOfND, n: ArrayLike, loss: ArrayLike) -> Array:
    """Return the tokens on which models of n parameters reach a loss.

    The d where law(n, d) = loss; infinite where the size cannot reach it.
    law: as in `allocate`; it falls with d. n: parameters, loss: nats; they broadcast with each
    other and with the coefficients of the law, so that k draws may each have a size of their own.
    Raises InputError for a bad size or loss, or what is no law of (n, d).
    Source: for Chinchilla's law the closed form, else bisection of ln d.
    """
    found, sizes, target = as_law(law), positive(n, "n"), positive(loss, "loss")
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        if isinstance(found, Chinchilla):
            return _chinchilla_tokens(found, sizes, target)
        return _tokens(found, sizes, target)


def _chinchilla_tokens(law: Chinchilla, n: Array, loss: Array) -> Array:
    rest = loss - law.E - law.A / n**law.alpha
    return np.where(rest > 0, (law.B / np.where(rest > 0, rest, 1.0)) ** (1.0 / law.beta), np.inf)


def _tokens(law: Law | LossOfND, n: Array, loss: Array) -> Array:
    def enough(log_d: Array) -> Flags:
        return ~(np.asarray(law(n, np.exp(log_d))) > loss)

    shape = np.broadcast_shapes(np.shape(law(n, np.full_like(n, 1e9))), np.shape(loss))
    least, most = (np.full(shape, end) for end in LOG_TOKENS)
    before, after = turning(enough, least, most)
    return np.where(enough(most), np.exp(0.5 * (before + after)), np.inf)
