"""Sweeps of the learning rate (and batch) with known optima, off every symmetry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoloss.laws import Chinchilla
from isoloss.runs import Runs

LAW = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
LR_LAW = (2.5, -0.40, 0.07)
BATCH_LAW = (1.3, 0.55)


@dataclass(frozen=True)
class Truth:
    """n, d, and at the optimum ln lr, ln batch and loss; each (G,)."""

    n: np.ndarray
    d: np.ndarray
    log_lr: np.ndarray
    log_batch: np.ndarray
    loss: np.ndarray


def sweep(
    random: np.random.Generator,
    *,
    sizes: int = 4,
    tokens: int = 3,
    arms: int = 5,
    noise: float = 0.003,
    scatter: float = 0.25,
    drift: float = 0.1,
    lean: float = 0.0,
    offset: float = 0.7,
    batches: int = 1,
) -> tuple[Runs, Truth]:
    """Simulate a grid of models, each with `arms` rates a factor of two apart.

    noise: relative sd of a loss. scatter: sd of ln curvature about its plane. drift: sd of the
    optima about their law. lean: how much steeper bowls are above the optimum. offset: how far, in
    ln lr, the middle of a grid may lie from the optimum. batches: how many, a factor of two apart.
    """
    n, d = (
        grid.ravel()
        for grid in np.meshgrid(3e7 * 4.0 ** np.arange(sizes), 4e8 * 5.0 ** np.arange(tokens))
    )
    log_lr = np.log(LR_LAW[0] * n ** LR_LAW[1] * d ** LR_LAW[2])
    log_lr = log_lr + drift * random.standard_normal(len(n))
    log_batch = np.log(BATCH_LAW[0] * d ** BATCH_LAW[1]) + drift * random.standard_normal(len(n))
    curvature = 0.07 * (n / 1e8) ** 0.2 * (d / 2e9) ** -0.2
    curvature = curvature * np.exp(scatter * random.standard_normal(len(n)))
    best = np.asarray(LAW(n, d))
    rows = []
    for g in range(len(n)):
        middle = log_lr[g] + random.uniform(-offset, offset)
        centre = log_batch[g] + random.uniform(-offset, offset)
        for i in range(arms):
            for j in range(batches):
                u = middle + np.log(2) * (i - (arms - 1) / 2) - log_lr[g]
                v = centre + np.log(2) * (j - (batches - 1) / 2) - log_batch[g]
                v = v if batches > 1 else 0.0
                bowl = u**2 / 2 if lean == 0 else (np.expm1(lean * u) - lean * u) / lean**2
                excess = curvature[g] * (bowl - 0.3 * u * v + 0.4 * v**2 / 2)
                loss = best[g] * np.exp(excess + noise * random.standard_normal())
                rows.append((n[g], d[g], loss, np.exp(log_lr[g] + u), np.exp(log_batch[g] + v)))
    columns = np.array(rows).T
    runs = Runs(n=columns[0], d=columns[1], loss=columns[2], lr=columns[3], batch=columns[4])
    return runs, Truth(n, d, log_lr, log_batch, best)


def in_order(truth: Truth) -> np.ndarray:
    """The places of the configurations by rising n, then d, as `tune` gives them."""
    return np.lexsort((truth.d, truth.n))
