"""Loss along a run: a power law in the learning rate spent, less what its fall gives.

    loss(s) = L0 + A / s1 ** alpha - C * s2

`annealing_sums` turns a schedule into s1 and s2, `Annealing` is the law itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, Coefficient

MEMORY = 0.999
"""The share of its annealing momentum that a run keeps at each step (Tissue et al. 2024)."""


@dataclass(frozen=True)
class Annealing:
    """Loss along one run: L0 + A / s1 ** alpha - C * s2.

    L0: nats. A: nats times s1 ** alpha. C: nats for each unit of s2. alpha: without unit.
    Source: Tissue et al. 2024, "Scaling Law with Learning Rate Annealing", the law of the abstract.
    Left out: their term in the model's size.
    """

    L0: Coefficient
    A: Coefficient
    C: Coefficient
    alpha: Coefficient

    variables: ClassVar[tuple[str, ...]] = ("s1", "s2")

    def __call__(self, s1: ArrayLike, s2: ArrayLike) -> Array:
        """Return the loss in nats where `annealing_sums` gives s1 and s2."""
        spent = np.asarray(s1, dtype=np.float64) ** -np.asarray(self.alpha)
        return np.asarray(self.L0 + self.A * spent - self.C * np.asarray(s2, dtype=np.float64))


def annealing_sums(rates: ArrayLike, memory: float = MEMORY) -> tuple[Array, Array]:
    """Return s1 and s2 after every step of a schedule, each (steps,).

    s1(s) = sum of eta_i over i <= s; s2(s) = sum of m_i over i <= s, where
    m_i = memory * m_{i-1} + (eta_{i-1} - eta_i) and m is zero up to the peak.
    rates: (steps,) learning rates eta, in any unit; s1 and s2 are in that unit times steps.
    memory: in [0, 1); 1 / (1 - memory) is how many steps a fall of the rate goes on to act.
    A fall of the rate by delta that lies far back has added delta / (1 - memory) to s2: the loss
    goes on falling for a while after the rate has. Warm-up is no annealing, so m starts at the
    peak.
    Raises InputError if the rates are not finite numbers in a row, none negative and the first
    positive, or memory is out of range.
    Source: Tissue et al. 2024, section 3 (S1, S2; memory 0.999 or 0.99 there).
    """
    eta = np.asarray(rates, dtype=np.float64)
    if eta.ndim != 1 or not eta.size or not np.all(np.isfinite(eta) & (eta >= 0)) or eta[0] <= 0:
        raise InputError("a schedule is a row of learning rates, none negative, the first positive")
    if not 0 <= memory < 1:
        raise InputError(f"memory is a share from 0 to below 1, not {memory!r}")
    momentum = np.zeros_like(eta)
    peak = int(np.argmax(eta))
    momentum[peak + 1 :] = eta[peak:-1] - eta[peak + 1 :]
    # Each pass doubles how far back the sums of memory ** k * fall reach.
    reach, kept = 1, memory
    while reach < eta.size and kept > 0:
        momentum[reach:] = momentum[reach:] + kept * momentum[:-reach]
        reach, kept = 2 * reach, kept * kept
    return np.cumsum(eta), np.cumsum(momentum)
