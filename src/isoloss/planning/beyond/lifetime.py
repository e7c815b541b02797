"""The model that is cheapest over its life: trained once, then serving tokens ever after.

A model smaller than the best for training takes more tokens to the same loss, and less for every
token it serves. `least_lifetime` counts both in FLOPs, `least_dollars` in money, where a token that
is written may cost fifty times one that is read, for it keeps the machine waiting.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import Cost, HoldsLaw, LossOfND, as_law, per_token
from isoloss.laws.forms import Array, Coefficient, Law, as_coefficient, positive
from isoloss.laws.required import compute_at_size, tokens_for_loss
from isoloss.laws.search import LOG_SIZES, LOG_TOKENS, Flags, minimum, turning
from isoloss.planning.budget import Machine

Price = Callable[[Array], Array]
"""What a size costs, in FLOPs or dollars: of parameters, on arrays."""

_LOG_SIZES = np.linspace(*LOG_SIZES, 73)
_STEP = 1e-3


@dataclass(frozen=True, eq=False)
class Lifetime:
    """The cheapest model of a loss, training and serving together.

    n: parameters, d: training tokens. training, serving: what each costs, in `unit`, "FLOPs" or
    "dollars". n_alone, d_alone: the model of that loss that is cheapest to train. saving: the share
    of that model's whole cost that this one saves. Numbers for one law, arrays (k,) for k draws;
    n, d and both costs are infinite, and saving nan, where a draw cannot reach the loss.
    """

    n: Coefficient
    d: Coefficient
    training: Coefficient
    serving: Coefficient
    n_alone: Coefficient
    d_alone: Coefficient
    saving: Coefficient
    unit: str


@dataclass(frozen=True)
class Traffic:
    """The tokens a model serves in its life: read, many at once, and written, one after another."""

    read: float
    written: float

    def __post_init__(self) -> None:
        for name in ("read", "written"):
            _checked(getattr(self, name), f"traffic: {name}")


def least_lifetime(
    law: Law | HoldsLaw | LossOfND,
    loss: ArrayLike,
    served: float,
    *,
    cost: Cost | None = None,
    serving: Cost | None = None,
) -> Lifetime:
    """Find the model of a loss whose training and serving take the fewest FLOPs.

    minimise over n: cost(n) * d + serving(n) * served, where law(n, d) = loss.
    law: as in `allocate`, draws too. loss: nats, a number, or one for each draw (k,); that of the
    best model of a size is law(n, best_tokens(law, n)). served: tokens read or written after
    training. cost, serving: n -> FLOPs per token trained on, default 6 n, and served, default 2 n.
    Returns Lifetime in FLOPs.
    Raises InputError for a bad loss or count of tokens, or a loss that no size reaches.
    Source: Sardana et al. 2023, Eq. 3. For Chinchilla's law the optimum has alpha A / n ** alpha =
    (1 + served / (3 d)) beta B / d ** beta. Left out: how many tokens a better model would attract.
    """
    tokens = _checked(served, "served")
    train, serve = _prices(cost, serving)
    return _cheapest(law, loss, train, lambda n: serve(n) * tokens, "FLOPs")


def least_dollars(
    law: Law | HoldsLaw | LossOfND,
    loss: ArrayLike,
    traffic: Traffic,
    *,
    training: Machine,
    reading: Machine,
    writing: Machine,
    cost: Cost | None = None,
    serving: Cost | None = None,
) -> Lifetime:
    """Find the model of a loss whose training and serving cost the least money.

    minimise over n: cost(n) * d * p_training + serving(n) * (read * p_reading + written *
    p_writing), p the dollars per FLOP of a machine: price / (3600 * peak * utilisation).
    law, loss, cost, serving: as in `least_lifetime`. traffic: tokens read and written. training,
    reading, writing: machines, each with its price per device-hour and its utilisation, which is
    near 0.01 for writing one token after another.
    Returns Lifetime in dollars.
    Raises InputError as `least_lifetime`, or for a machine without a price.
    Source: Sardana et al. 2023, Eq. 6. Left out: storage, staff, idle machines.
    """
    at = {"training": training, "reading": reading, "writing": writing}
    rates = {name: _dollars_per_flop(name, machine) for name, machine in at.items()}
    train, serve = _prices(cost, serving)
    per_size = traffic.read * rates["reading"] + traffic.written * rates["writing"]
    return _cheapest(
        law,
        loss,
        lambda n: train(n) * rates["training"],
        lambda n: serve(n) * per_size,
        "dollars",
    )


def best_tokens(
    law: Law | HoldsLaw | LossOfND, n: ArrayLike, *, cost: Cost | None = None
) -> Coefficient:
    """Return the tokens for which a size is the best one.

    The d at which the loss, along law(n', cost(n) * d / cost(n')), has its least at n' = n.
    law: as in `allocate`. n: parameters, a number, or an array that broadcasts with the law's
    coefficients. cost: n -> FLOPs per token, default 6 n.
    Raises InputError for a bad size, or one that is the best for no budget.
    Source: for Chinchilla's law Hoffmann et al. 2022, Eq. 4, solved for d; here by bisection.
    """
    found = as_law(law)
    log_n = np.log(positive(n, "n"))
    sides = np.exp(log_n - _STEP), np.exp(log_n + _STEP)
    spends = [per_token(np.exp(log_n), cost) / per_token(side, cost) for side in sides]

    def too_small(log_d: Array) -> Flags:
        """Whether a larger model would do better for the same compute."""
        less, more = (
            np.asarray(found(side, spend * np.exp(log_d)))
            for side, spend in zip(sides, spends, strict=True)
        )
        return np.asarray(more < less)

    least, most = (np.asarray(end) for end in LOG_TOKENS)
    if np.any(too_small(least)) or not np.all(too_small(most)):
        raise InputError("the law has no budget for which that size is the best one")
    before, after = turning(too_small, least, most)
    return as_coefficient(np.exp(0.5 * (before + after)))


def _cheapest(
    law: Law | HoldsLaw | LossOfND, loss: ArrayLike, train: Price, serve: Price, unit: str
) -> Lifetime:
    """train: price of training on a token, serve: price of all that is served."""
    found, target = as_law(law), positive(loss, "loss")

    def least(serve: Price) -> Array:
        def total(log_n: Array) -> Array:
            n = np.exp(log_n)
            tokens = tokens_for_loss(found, n, target)
            return np.asarray(np.log(train(n) * tokens + serve(n)))

        sizes = np.exp(_LOG_SIZES)
        grid = compute_at_size(found, sizes, target, cost=train) + serve(sizes)
        if np.all(np.isinf(grid)):
            raise InputError("no size reaches that loss: give one further above the law's least")
        best = np.clip(np.argmin(grid, axis=-1), 1, len(_LOG_SIZES) - 2)
        log_n = minimum(total, _LOG_SIZES[best - 1], _LOG_SIZES[best + 1])
        return np.asarray(np.where(np.isinf(total(log_n)), np.inf, np.exp(log_n)))

    def spent(n: Array) -> tuple[Array, Array, Array]:
        size = np.where(np.isinf(n), 1.0, n)
        d = np.where(np.isinf(n), np.inf, tokens_for_loss(found, size, target))
        reach = np.where(np.isinf(n), np.inf, 1.0)
        return d, train(size) * d, serve(size) * reach

    n, alone = least(serve), least(np.zeros_like)
    (d, training, serving), (d_alone, *costs) = spent(n), spent(alone)
    with np.errstate(invalid="ignore"):
        saving = 1.0 - (training + serving) / (costs[0] + costs[1])
    return Lifetime(
        n=as_coefficient(n),
        d=as_coefficient(d),
        training=as_coefficient(training),
        serving=as_coefficient(serving),
        n_alone=as_coefficient(alone),
        d_alone=as_coefficient(d_alone),
        saving=as_coefficient(saving),
        unit=unit,
    )


def _prices(cost: Cost | None, serving: Cost | None) -> tuple[Price, Price]:
    """The FLOPs of a token trained on and of one served: 6 n and 2 n, or what is given, checked."""
    served = serving or (lambda n: 2 * n)
    return lambda n: per_token(n, cost), lambda n: per_token(n, served)


def _dollars_per_flop(name: str, machine: Machine) -> float:
    dollars = machine.dollars(1.0)
    if dollars is None:
        raise InputError(f"the machine for {name} has no price: give dollars per device-hour")
    return dollars


def _checked(tokens: float, name: str) -> float:
    if isinstance(tokens, bool) or not (math.isfinite(tokens) and tokens >= 0):
        raise InputError(f"{name} is {tokens!r}; give a number of tokens such as 2e12")
    return float(tokens)
