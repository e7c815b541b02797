"""Records of squared gradient norms whose noise scale is known: normal gradients, |G|^2 = 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from isoloss.noise import NoiseScale, noise_scale

Array = NDArray[np.float64]


def norms(
    rng: np.random.Generator, truth: float, small: int, big: int, steps: int, dimensions: int
) -> tuple[Array, Array]:
    """Squared norms of the parts of a batch, averaged, and of their mean; |G|^2 = 1."""
    spread = math.sqrt(truth / dimensions / small)
    parts = rng.normal(0.0, spread, (steps, big // small, dimensions))
    parts[:, :, 0] += 1.0
    whole = parts.mean(axis=1)
    return (parts**2).sum(axis=2).mean(axis=1), (whole**2).sum(axis=1)


def study(
    truth: int, small: int, big: int, steps: int, dimensions: int, records: int
) -> list[NoiseScale]:
    """What is measured on so many records of some steps each."""
    rng = np.random.default_rng(truth + steps + dimensions)
    return [
        noise_scale(*norms(rng, truth, small, big, steps, dimensions), small=small, big=big)
        for _ in range(records)
    ]
