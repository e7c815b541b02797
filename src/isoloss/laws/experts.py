"""Losses of mixtures of experts by how many experts there are.

Both laws see the number of experts through `effective_experts`, which bends it at both ends;
`variants.FineGrainedMoE` is the law of their grain, at a fixed number.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, Coefficient, Law, log


def effective_experts(experts: ArrayLike, E_start: Coefficient, E_max: Coefficient) -> Array:
    """Return the number of experts that a power law may be in.

    1 / e = 1 / (experts - 1 + 1 / (1 / E_start - 1 / E_max)) + 1 / E_max: E_start for one expert
    and never above E_max, for few experts and very many help less than a power law says.
    experts: 1 or more, any shape. E_start, E_max: of the law; complex too.
    Source: Clark et al. 2022, the saturated count; Ludziejewski et al. 2025, Eq. 4.
    """
    first = 1.0 / (1.0 / np.asarray(E_start) - 1.0 / np.asarray(E_max))
    return np.asarray(1.0 / (1.0 / (np.asarray(experts) - 1.0 + first) + 1.0 / np.asarray(E_max)))


@dataclass(frozen=True)
class RoutedExperts:
    """Loss of a mixture of experts at a fixed number of tokens, in logarithms to base 10.

    log loss = a log n + b log e + c log n log e + d, e = effective_experts(experts).
    n: parameters of the dense model, before experts are added. experts: how many stand for one
    feed-forward layer. a, b, c, d: without unit; E_start, E_max: experts.
    Raises InputError unless 0 < E_start < E_max.
    Source: Clark et al. 2022, Eq. 1 with the saturated count. Left out: their second law, of FLOPs
    and parameters used.
    """

    a: Coefficient
    b: Coefficient
    c: Coefficient
    d: Coefficient
    E_start: Coefficient
    E_max: Coefficient

    variables: ClassVar[tuple[str, ...]] = ("n", "experts")

    def __post_init__(self) -> None:
        _check_ends(self.E_start, self.E_max, "RoutedExperts")

    def __call__(self, n: ArrayLike, experts: ArrayLike) -> Array:
        """Return the loss in nats of models of n parameters with so many experts."""
        log_n, log_e = np.log10(np.asarray(n, dtype=np.float64)), self._log_e(experts)
        line = self.a * log_n + self.b * log_e + self.c * log_n * log_e + self.d
        return np.asarray(10.0**line)

    def dense_size(self, n: ArrayLike, experts: ArrayLike) -> Array:
        """Return the parameters of the dense model with the same loss: one expert is dense here.

        log n' = (log n (a + c log e) + b log (e / E_start)) / (a + c log E_start).
        Source: Clark et al. 2022, the effective parameter count.
        """
        log_n, log_e = np.log10(np.asarray(n, dtype=np.float64)), self._log_e(experts)
        log_start = np.log10(self.E_start)
        rise = log_n * (self.a + self.c * log_e) + self.b * (log_e - log_start)
        return np.asarray(10.0 ** (rise / (self.a + self.c * log_start)))

    @property
    def cutoff(self) -> Coefficient:
        """The size beyond which experts do not help, 10 ** (-b / c): the digits of c decide it."""
        return 10.0 ** (-self.b / self.c)

    def coefficients(self) -> dict[str, Coefficient]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _log_e(self, experts: ArrayLike) -> Array:
        count = np.asarray(experts, dtype=np.float64)
        return np.asarray(np.log10(effective_experts(count, self.E_start, self.E_max)))


@dataclass(frozen=True)
class JointMoE(Law):
    """Loss of a mixture from size, tokens and experts: Chinchilla's for any number of experts.

    loss = a e ** delta n ** (alpha + gamma ln e) + b e ** omega d ** (beta + zeta ln e) + c,
    e = effective_experts(experts). n: parameters that one token uses, embedding and head
    included. experts: of which one is used. alpha and beta are negative, as the paper has them.
    c: nats. a, b: nats, at one parameter and one token. E_start, E_max: experts.
    Raises InputError unless 0 < E_start < E_max, or if the coefficient of a term is negative.
    Source: Ludziejewski et al. 2025, Eq. 6.
    """

    a: Coefficient
    alpha: Coefficient
    delta: Coefficient
    gamma: Coefficient
    b: Coefficient
    beta: Coefficient
    omega: Coefficient
    zeta: Coefficient
    E_start: Coefficient
    E_max: Coefficient
    c: Coefficient

    variables = ("n", "d", "experts")
    scales = ("a", "b", "c")
    exponents: ClassVar = {
        "alpha": (-5.0, -1e-2),
        "delta": (-5.0, 5.0),
        "gamma": (-1.0, 1.0),
        "beta": (-5.0, -1e-2),
        "omega": (-5.0, 5.0),
        "zeta": (-1.0, 1.0),
        "E_start": (0.1, 10.0),
        "E_max": (20.0, 1e4),
    }

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_ends(self.E_start, self.E_max, "JointMoE")

    def log_terms(self, *logs: Array) -> tuple[Array, ...]:
        log_n, log_d, log_experts = logs
        log_e = log(effective_experts(np.exp(log_experts), self.E_start, self.E_max))
        return (
            log(self.a) + self.delta * log_e + (self.alpha + self.gamma * log_e) * log_n,
            log(self.b) + self.omega * log_e + (self.beta + self.zeta * log_e) * log_d,
            log(self.c),
        )


def _check_ends(start: Coefficient, most: Coefficient, name: str) -> None:
    low, high = np.asarray(np.real(start)), np.asarray(np.real(most))
    if not np.all((low > 0) & (low < high)):
        raise InputError(f"{name}: E_start must be positive and below E_max")
