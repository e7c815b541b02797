"""What follows from Chinchilla's law: its frontier, and how that looks without the embeddings.

`ChinchillaFrontier` is the closed form of the best size, tokens and loss of a budget c = 6 n d.
`UncountedFrontier` is the same optimum for one who counts neither the embeddings' parameters nor
their compute, as Kaplan et al. 2020 did: the curve is no power law, and over small sizes it passes
for one with a far larger exponent.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, Chinchilla, Coefficient, SaturatingPowerLaw, positive
from isoloss.laws.relations import PowerRelation
from isoloss.laws.search import turning

PEARCE_OMEGA = 47_491.0
"""Embedding parameters over n ** (1/3): 32,000 tokens, d_model about 39.2 times n_layer."""

_MOST_LOG_SIZE = np.log(1e24)


@dataclass(frozen=True)
class ChinchillaFrontier:
    """The best use of compute under loss = E + A / n ** alpha + B / d ** beta with c = 6 n d.

    n = G (c/6) ** a, d = (c/6) ** b / G, loss = E + K / c ** gamma, with a = beta / (alpha + beta),
    b = alpha / (alpha + beta), gamma = alpha beta / (alpha + beta).
    law: Chinchilla; its coefficients may be arrays, a law per draw, which broadcast against c.
    Raises InputError for another law, or one whose exponents are not positive.
    Source: Hoffmann et al. 2022, Eq. 4; the loss follows by inserting it.
    """

    law: Chinchilla

    def __post_init__(self) -> None:
        _check(self.law, "ChinchillaFrontier")

    @property
    def exponents(self) -> dict[str, Coefficient]:
        """Of n and d in compute: a and b."""
        alpha, beta = self.law.alpha, self.law.beta
        return {"n": beta / (alpha + beta), "d": alpha / (alpha + beta)}

    @property
    def gamma(self) -> Coefficient:
        """The exponent of the reducible loss in compute: alpha beta / (alpha + beta)."""
        return self.law.alpha * self.law.beta / (self.law.alpha + self.law.beta)

    @property
    def G(self) -> Coefficient:
        """The scale of n in (c/6) ** a: (alpha A / (beta B)) ** (1 / (alpha + beta))."""
        law = self.law
        ratio = law.alpha * law.A / (law.beta * law.B)
        return ratio ** (1.0 / (law.alpha + law.beta))

    @property
    def loss_of_c(self) -> SaturatingPowerLaw:
        """The least loss of c FLOPs, E + K / c ** gamma, as a law of one variable."""
        law, G = self.law, self.G
        K = 6.0**self.gamma * (law.A * G ** (-law.alpha) + law.B * G**law.beta)
        return SaturatingPowerLaw(E=law.E, A=K, alpha=self.gamma)

    def n(self, c: ArrayLike) -> Array:
        """Return the parameters of least loss for c FLOPs."""
        return np.asarray(self.G * (positive(c, "c") / 6.0) ** self.exponents["n"])

    def d(self, c: ArrayLike) -> Array:
        """Return the tokens that go with them."""
        return np.asarray((positive(c, "c") / 6.0) ** self.exponents["d"] / self.G)

    def loss(self, c: ArrayLike) -> Array:
        """Return the least loss of c FLOPs, in nats."""
        return self.loss_of_c(positive(c, "c"))


class Lines(NamedTuple):
    """Power laws of compute through a frontier: of the best size and of its loss."""

    n: PowerRelation
    loss: PowerRelation


@dataclass(frozen=True)
class UncountedFrontier:
    """The optimum of a law of all parameters, in sizes and compute that leave out embeddings.

    All parameters are n + omega n ** (1/3), for width grows as the cube root of size at one aspect
    ratio. minimise law(n + omega n ** (1/3), d) subject to 6 n d = c gives
    c = 6 n (n + omega/3 n^(1/3))^(-1/beta) (n + omega n^(1/3))^((1+alpha)/beta)
    (beta B / (alpha A))^(1/beta).
    law: Chinchilla with plain numbers, fitted to all parameters. omega: parameters ** (2/3).
    Raises InputError for another law or an omega below zero; at zero it is ChinchillaFrontier.
    Source: Pearce & Song 2024, section 3. Left out: attention, and aspect ratios that change.
    """

    law: Chinchilla
    omega: float = PEARCE_OMEGA

    def __post_init__(self) -> None:
        _check(self.law, "UncountedFrontier")
        if any(np.ndim(value) for value in self.law.coefficients().values()):
            raise InputError("UncountedFrontier takes one law, not draws of it")
        if not (np.isfinite(self.omega) and self.omega >= 0):
            raise InputError(f"omega is {self.omega}; give 0 or more, such as {PEARCE_OMEGA:g}")

    @property
    def crossover(self) -> float:
        """The size at which embeddings are half of all parameters: omega ** 1.5."""
        return float(self.omega**1.5)

    @property
    def limits(self) -> tuple[float, float]:
        """The exponent of n in c far below the crossover and far above it.

        beta / (alpha/3 + beta) and beta / (alpha + beta).
        """
        alpha, beta = float(self.law.alpha), float(self.law.beta)
        return beta / (alpha / 3.0 + beta), beta / (alpha + beta)

    def total(self, n: ArrayLike) -> Array:
        """Return all parameters of models with n parameters outside the embeddings."""
        n = positive(n, "n")
        return np.asarray(n + self.omega * np.cbrt(n))

    def c(self, n: ArrayLike) -> Array:
        """Return the FLOPs 6 n d, embeddings left out, for which n is the best size."""
        n = positive(n, "n")
        law, alpha, beta = self.law, float(self.law.alpha), float(self.law.beta)
        log_c = (
            np.log(6.0 * n)
            - np.log(n + self.omega / 3.0 * np.cbrt(n)) / beta
            + np.log(self.total(n)) * (1.0 + alpha) / beta
            + np.log(beta * float(law.B) / (alpha * float(law.A))) / beta
        )
        return np.asarray(np.exp(log_c))

    def loss(self, n: ArrayLike) -> Array:
        """Return the loss of n with the tokens of its budget, the least that c(n) FLOPs reach."""
        n = positive(n, "n")
        return self.law(self.total(n), self.c(n) / (6.0 * n))

    def exponent(self, n: ArrayLike) -> Array:
        """Return d ln n / d ln c at n, the exponent that one would read off there."""
        n = positive(n, "n")
        alpha, beta = float(self.law.alpha), float(self.law.beta)
        embeddings = self.omega * np.cbrt(n)
        rate = (
            1.0
            - (n + embeddings / 9.0) / (n + embeddings / 3.0) / beta
            + (1.0 + alpha) / beta * (n + embeddings / 3.0) / (n + embeddings)
        )
        return np.asarray(1.0 / rate)

    def n(self, c: ArrayLike) -> Array:
        """Return the best size, embeddings left out, for c FLOPs: `c` inverted by bisection."""
        c = positive(c, "c")
        low, high = turning(lambda log_n: self.c(np.exp(log_n)) >= c, 0.0, _MOST_LOG_SIZE)
        return np.asarray(np.exp(0.5 * (low + high)))

    def lines(self, n: ArrayLike) -> Lines:
        """Return the power laws through the curve at sizes n, (m,): they depend on where n lie."""
        n = positive(n, "n")
        return through(self.c(n), n, self.loss(n))

    def seen(
        self, n: ArrayLike, c: ArrayLike, *, counted: bool = False, above: float = 0.0
    ) -> Lines:
        """Return the power laws through what a sweep shows: the best of its sizes at each budget.

        n: (m,) sizes without embeddings. c: (k,) FLOPs. counted: whether embeddings count, in both
        sizes and compute. above: nats taken off the losses, such as E.
        """
        n, c = positive(n, "n"), positive(c, "c")
        total = self.total(n)
        sizes = total if counted else n
        losses = self.law(total, c[:, None] / (6.0 * sizes))
        return through(c, sizes[losses.argmin(axis=1)], losses.min(axis=1) - above)


def through(c: Array, n: Array, loss: Array) -> Lines:
    """Return the power laws of best sizes and losses in compute, by least squares of logarithms.

    c, n, loss: (m,), positive, two or more.
    """
    if np.ndim(c) != 1 or len(c) < 2:
        raise InputError("a power law of compute needs two sizes or budgets")
    centre = np.log(c).mean()
    log_c = np.log(c) - centre

    def line(y: Array) -> PowerRelation:
        slope = float(log_c @ np.log(y) / (log_c @ log_c))
        return PowerRelation(float(np.exp(np.log(y).mean() - slope * centre)), slope)

    return Lines(line(n), line(loss))


def _check(law: object, name: str) -> None:
    if not isinstance(law, Chinchilla):
        raise InputError(f"{name} takes a Chinchilla law, not a {type(law).__name__}: see its .law")
    for exponent in ("alpha", "beta", "A", "B"):
        value = np.asarray(getattr(law, exponent))
        if not np.all(np.isfinite(value) & (value > 0)):
            raise InputError(f"{name}: {exponent} must be positive")
