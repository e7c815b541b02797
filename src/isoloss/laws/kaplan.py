"""What follows from Kaplan's two fits: the frontier of efficient training, and where it ends.

The loss of n parameters after s steps, `KaplanNS`, and the critical batch, `CriticalBatch`, say
together what a budget of compute c = 6 n b_crit(loss) s should buy. Everything here is derived
(Kaplan et al. 2020, appendix B); the paper's own fits of the same trends, which differ from it by
up to a factor of two, are in `published.KAPLAN_2020.allocation`. Compute is in FLOPs throughout.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, PowerLaw, positive
from isoloss.laws.relations import CriticalBatch, KaplanNS, PowerRelation
from isoloss.laws.search import turning


class EarlyStop(NamedTuple):
    """What training to (1 + f) times the converged loss takes, over what (1 + f') times takes.

    n, steps, c: ratios of parameters, steps and compute at equal loss.
    """

    n: float
    steps: float
    c: float


class Crossing(NamedTuple):
    """Where two trends meet: c in the unit of the trends, n parameters, d tokens, loss in nats."""

    c: float
    n: float
    d: float
    loss: float


class TradeOff(NamedTuple):
    """What a batch costs: optimizer steps (time) and tokens (compute), as factors of the least."""

    steps: Array
    tokens: Array


@dataclass(frozen=True)
class KaplanFrontier:
    """The best use of compute that a loss of (n, steps) and a critical batch of the loss imply.

    loss = (1 + alpha_n / alpha_s) (Nc / n) ** alpha_n along it: training stops some 10 % above the
    converged loss, and loss, n, batch and steps are powers of compute.
    loss_ns: KaplanNS; critical_batch: CriticalBatch; both with plain numbers for coefficients.
    Source: Kaplan et al. 2020, Eqs B.1 to B.17 (Eqs 6.3 to 6.5 in the text).
    """

    loss_ns: KaplanNS
    critical_batch: CriticalBatch

    def __post_init__(self) -> None:
        values = {**self.loss_ns.coefficients(), **self.critical_batch.coefficients()}
        for name, value in values.items():
            if np.ndim(value) or not (np.isfinite(value) and value > 0):
                raise InputError(f"KaplanFrontier: {name} is {value}; it must be a positive number")

    @property
    def excess(self) -> float:
        """By which fraction the loss lies above the converged one: alpha_n / alpha_s (Eq. B.5)."""
        return float(self.loss_ns.alpha_n) / float(self.loss_ns.alpha_s)

    @property
    def exponent(self) -> float:
        """Of loss in compute: 1 / (1/alpha_s + 1/alpha_b + 1/alpha_n) (Eqs 1.8, 6.3 and B.7)."""
        alpha_n, alpha_s = float(self.loss_ns.alpha_n), float(self.loss_ns.alpha_s)
        return 1.0 / (1.0 / alpha_s + 1.0 / self.critical_batch.alpha_b + 1.0 / alpha_n)

    @property
    def exponents(self) -> dict[str, float]:
        """Of n, batch, steps and d in compute (Eq. 1.7); d is batch times steps."""
        n = self.exponent / float(self.loss_ns.alpha_n)
        batch = self.exponent / self.critical_batch.alpha_b
        steps = self.exponent / float(self.loss_ns.alpha_s)
        return {"n": n, "batch": batch, "steps": steps, "d": batch + steps}

    @property
    def scale(self) -> float:
        """The FLOPs at which the loss is 1 nat: C_c of Eq. B.8."""
        law = self.loss_ns
        alpha_n, alpha_s = float(law.alpha_n), float(law.alpha_s)
        efficient = float((1.0 + self.excess) ** (1.0 / alpha_s + 1.0 / alpha_n))
        steps = float(law.Sc) * (alpha_s / alpha_n) ** (1.0 / alpha_s)
        return float(6.0 * float(law.Nc) * self.critical_batch.b_star * steps * efficient)

    def loss(self, c: ArrayLike) -> Array:
        """Return the least loss in nats of c FLOPs: (C_c / c) ** exponent (Eq. B.6)."""
        return np.asarray((self.scale / positive(c, "c")) ** self.exponent)

    def n(self, c: ArrayLike) -> Array:
        """Return the parameters that reach it (Eq. B.9)."""
        alpha_n = float(self.loss_ns.alpha_n)
        share = (positive(c, "c") / self.scale) ** self.exponents["n"]
        return np.asarray(float(self.loss_ns.Nc) * share * (1.0 + self.excess) ** (1.0 / alpha_n))

    def batch(self, c: ArrayLike) -> Array:
        """Return the critical batch in tokens at that loss (Eq. B.2)."""
        return self.critical_batch(self.loss(c))

    def steps(self, c: ArrayLike) -> Array:
        """Return the steps at that batch: c / (6 n batch), Eq. B.10."""
        c = positive(c, "c")
        return np.asarray(c / (6.0 * self.n(c) * self.batch(c)))

    def c(self, n: ArrayLike) -> Array:
        """Return the FLOPs for which n parameters are best: Eq. B.9 solved for the compute."""
        alpha_n = float(self.loss_ns.alpha_n)
        largest = float(self.loss_ns.Nc) * (1.0 + self.excess) ** (1.0 / alpha_n)
        share = positive(n, "n") / largest
        return np.asarray(self.scale * share ** (1.0 / self.exponents["n"]))

    def at_batch(self, c: ArrayLike, batch: float) -> Array:
        """Return the FLOPs that a fixed batch takes for what c FLOPs do well below the critical.

        c (1 + batch / b_crit(loss(c))); the best size is that of c, for a batch costs every size
        the same factor at one loss. c: FLOPs. batch: tokens. Source: Eq. 5.5 turned round.
        """
        return np.asarray(positive(c, "c") * trade_off(batch, self.batch(c)).tokens)

    def compute(self, n: ArrayLike, loss: ArrayLike) -> Array:
        """Return the FLOPs with which n parameters reach a loss, infinite where they cannot.

        6 b_crit(loss) n Sc (loss - (Nc / n) ** alpha_n) ** (-1 / alpha_s). n: parameters, loss:
        nats. Source: Eq. B.15.
        """
        n, loss = positive(n, "n"), positive(loss, "loss")
        law = self.loss_ns
        left = loss - (float(law.Nc) / n) ** float(law.alpha_n)
        with np.errstate(divide="ignore", invalid="ignore"):
            steps = float(law.Sc) * np.where(left > 0, left, np.nan) ** (-1 / float(law.alpha_s))
        return np.asarray(np.where(left > 0, 6.0 * n * self.critical_batch(loss) * steps, np.inf))

    def loss_of(self, n: ArrayLike, c: ArrayLike) -> Array:
        """Return the loss of n parameters after c FLOPs at the critical batch of that loss.

        n: parameters, c: FLOPs; arrays broadcast. The loss stands on both sides of Eq. B.3; it is
        found by bisection of `compute`, which falls as the loss rises.
        """
        n, c = np.broadcast_arrays(positive(n, "n"), positive(c, "c"))
        low = np.log((float(self.loss_ns.Nc) / n) ** float(self.loss_ns.alpha_n))
        high = low + 1.0
        while np.any(short := self.compute(n, np.exp(high)) > c):
            high = np.where(short, high + 2.0 * (high - low), high)
        low, high = turning(lambda log_loss: self.compute(n, np.exp(log_loss)) <= c, low, high)
        return np.asarray(np.exp(0.5 * (low + high)))

    def compute_ratio(self, size_ratio: ArrayLike) -> Array:
        """Return how much more compute a size needs than the best one for the same loss (Eq. B.16).

        size_ratio: n over the best n, positive; infinite where the size cannot reach the loss.
        """
        return np.asarray(positive(size_ratio, "size_ratio") * self.steps_ratio(size_ratio))

    def steps_ratio(self, size_ratio: ArrayLike) -> Array:
        """Return how many more steps a size needs than the best one for the same loss (Eq. B.17).

        [1 + (alpha_s / alpha_n) (1 - r ** -alpha_n)] ** (-1 / alpha_s), r = size_ratio.
        """
        ratio = positive(size_ratio, "size_ratio")
        alpha_n, alpha_s = float(self.loss_ns.alpha_n), float(self.loss_ns.alpha_s)
        bracket = 1.0 + alpha_s / alpha_n * (1.0 - ratio**-alpha_n)
        with np.errstate(invalid="ignore"):
            steps = np.where(bracket > 0, bracket, np.nan) ** (-1.0 / alpha_s)
        return np.asarray(np.where(bracket > 0, steps, np.inf))

    def early_stop(self, excess: float | None = None, beside: float = 0.02) -> EarlyStop:
        """Return what it takes to stop at 1 + f times the converged loss, over 1 + f' times.

        excess: f, by default the efficient alpha_n / alpha_s. beside: f', Kaplan's typical 2 %.
        Source: Eqs B.12, B.13 and B.14.
        """
        f = self.excess if excess is None else excess
        if not (f > 0 and beside > 0):
            raise InputError("early_stop compares two positive fractions above the converged loss")
        n = ((1.0 + f) / (1.0 + beside)) ** (1.0 / float(self.loss_ns.alpha_n))
        ratio = (1.0 + 1.0 / f) / (1.0 + 1.0 / beside)
        steps = ratio ** (1.0 / float(self.loss_ns.alpha_s))
        return EarlyStop(n, steps, n * steps)


def trade_off(batch: ArrayLike, b_crit: ArrayLike) -> TradeOff:
    """Return what training at a batch takes, over the least steps and over the least tokens.

    steps / s_min = 1 + b_crit / batch, tokens / e_min = 1 + batch / b_crit, so that
    (steps / s_min - 1) (tokens / e_min - 1) = 1; at the critical batch both are 2.
    batch, b_crit: tokens, positive, arrays broadcast.
    Source: Kaplan et al. 2020, Eqs 5.1 to 5.5; McCandlish et al. 2018, Eq. 2.11.
    """
    ratio = positive(batch, "batch") / positive(b_crit, "b_crit")
    return TradeOff(np.asarray(1.0 + 1.0 / ratio), np.asarray(1.0 + ratio))


def contradiction(
    loss_of_c: PowerLaw, loss_of_d: PowerLaw, d_of_c: PowerRelation, n_of_c: PowerRelation
) -> Crossing:
    """Find where efficient training would beat the loss that its own tokens allow.

    loss_of_c(c) = loss_of_d(d_of_c(c)): beyond it one of the trends must fail, which Kaplan reads
    as a guess at the loss of text itself.
    loss_of_c: best loss of compute, loss_of_d: least loss of tokens seen once; d_of_c, n_of_c:
    tokens and parameters of compute; all with compute in one unit (PF-days in the paper).
    Returns Crossing. Raises InputError if the trends run side by side or apart.
    Source: Kaplan et al. 2020, section 6.3 and Eq. 6.8. The place is known to an order of magnitude
    at best: the paper's 4e10 tokens in Eq. 6.7, for the 2e10 of its Table 6, moves it tenfold.
    """
    fast, slow = float(loss_of_c.alpha), float(loss_of_d.alpha) * d_of_c.exponent
    if not fast > slow > 0:
        raise InputError(
            "the loss of compute must fall faster than that of the tokens it sees; "
            f"the exponents are {fast:.3g} and {slow:.3g}"
        )
    tokens = np.log(float(loss_of_d.xc)) - np.log(d_of_c.coefficient)
    log_c = (fast * np.log(float(loss_of_c.xc)) - float(loss_of_d.alpha) * tokens) / (fast - slow)
    c = float(np.exp(log_c))
    return Crossing(c, float(n_of_c(c)), float(d_of_c(c)), float(loss_of_c(c)))
