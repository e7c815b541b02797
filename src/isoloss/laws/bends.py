"""Laws of one variable that bend in the logarithm: M3 and M4, and the broken power law.

A power law is a straight line in the logarithms and a saturating one bends once, towards its floor.
Small models and short runs lie above both, near the loss of a guess, and some tasks are learned
only from some size on. M3 and M4 describe the first, a broken power law either. Of the same paper,
M1 is `PowerLaw` and M2 `SaturatingPowerLaw`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from isoloss.errors import InputError
from isoloss.laws.forms import Along, Array, Coefficient, Law, log, log_sum

_MOST_STEPS = 20
_FAR = 1e6  # in place of an infinite logarithm
_CLOSE = 1e-8  # convergence is quadratic: the step after this one is exact


@dataclass(frozen=True)
class M3(Law):
    """A power law that levels off at large x: loss = beta * (1 / x + gamma) ** c.

    beta: nats times x ** c. gamma: in the unit of 1 / x; its inverse is the x beyond which more
    hardly helps. c: positive, where the paper writes -c.
    Source: Alabdulmohsin et al. 2022, M3.
    """

    beta: Coefficient
    gamma: Coefficient
    c: Coefficient

    variables = ("x",)
    scales = ("beta",)
    exponents: ClassVar = {"gamma": Along(1e-3, 1e3, power=-1), "c": (1e-2, 5.0)}

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return (log(self.beta) + self.c * log_sum(-logs[0], log(self.gamma)),)


@dataclass(frozen=True)
class M4(Law):
    """A power law between two levels: (loss - E) / (E + G - loss) ** alpha = beta * x ** -c.

    E: nats, the loss that no x removes. G: nats, how far above E the loss of a guess lies, so that
    the paper's loss at x = 0 is E + G. alpha: positive, how early the curve leaves that level; as
    it falls to 0 this tends to SaturatingPowerLaw beyond xc, and to E + G before. xc: the x at
    which beta * G ** (alpha - 1) * x ** -c is 1, in the unit of x. c: positive, where the paper
    writes -c. The loss is E + G * u, u solving
    u / (1 - u) ** alpha = (xc / x) ** c. Raises InputError unless alpha is positive.
    Source: Alabdulmohsin et al. 2022, M4; the paper's beta is the property `beta`.
    """

    E: Coefficient
    G: Coefficient
    alpha: Coefficient
    xc: Coefficient
    c: Coefficient

    variables = ("x",)
    scales = ("E", "G")
    exponents: ClassVar = {"alpha": (1e-2, 10.0), "xc": Along(1e-3, 1e2), "c": (1e-2, 5.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if np.any(np.less_equal(np.real(self.alpha), 0)):
            raise InputError("M4: alpha must be positive")

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        return log(self.E), log(self.G) + _log_share(self.c * (log(self.xc) - logs[0]), self.alpha)

    @property
    def beta(self) -> Coefficient:
        """The paper's beta, nats ** (1 - alpha) times x ** c."""
        return self.xc**self.c * self.G ** (1.0 - self.alpha)


def _log_share(log_t: Array, alpha: Coefficient) -> Array:
    """log u, where u / (1 - u) ** alpha = t: Newton's method for the log odds s of u.

    log u - alpha * log(1 - u) = log t is convex or concave in s and its slope lies between 1 and
    alpha, so the steps converge from anywhere. One step more in complex numbers carries the slopes.
    """
    log_t = np.where(np.isfinite(log_t), log_t, np.sign(np.real(log_t)) * _FAR)
    t, a = np.real(log_t), np.asarray(np.real(alpha))
    s = np.where(t < 0, t, t / a)
    for _ in range(_MOST_STEPS):
        step = _step(s, t, a)
        s = s + step
        if np.all(np.abs(step) < _CLOSE * (1.0 + np.abs(s))):
            break
    return -log_sum(0.0, -(s + _step(s, log_t, alpha)))


def _step(s: Array, log_t: Array, alpha: Coefficient) -> Array:
    size = np.abs(s)
    least = np.exp(-size)
    rest = np.where(s > 0, least, 1.0) / (1.0 + least)  # 1 - u
    bend = np.log1p(least)
    log_u, log_rest = -(0.5 * (size - s) + bend), -(0.5 * (size + s) + bend)
    step: Array = (log_t - log_u + alpha * log_rest) / (rest + alpha * (1.0 - rest))
    return step


@dataclass(frozen=True)
class BrokenPowerLaw(Law):
    """A power law with one smooth break: a + b * x ** -c0 * (1 + (x / d1) ** (1 / f1)) ** (-c1 f1).

    a: nats, the loss that no x removes. b: nats times x ** c0. c0: the exponent before the break,
    c0 + c1 that after it; c1 is negative where the curve flattens. d1: where it breaks, in the unit
    of x. f1: how softly, the width of the break in ln x.
    Source: Caballero et al. 2022, Eq. 1 with n = 1. Left out: more breaks.
    """

    a: Coefficient
    b: Coefficient
    c0: Coefficient
    c1: Coefficient
    d1: Coefficient
    f1: Coefficient

    variables = ("x",)
    scales = ("a", "b")
    exponents: ClassVar = {
        "c0": (1e-3, 5.0),
        "c1": (-5.0, 20.0),
        "d1": Along(0.3, 3.0),
        "f1": (1e-2, 5.0),
    }

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        beyond = log_sum(0.0, (logs[0] - log(self.d1)) / self.f1)
        return log(self.a), log(self.b) - self.c0 * logs[0] - self.c1 * self.f1 * beyond
