"""Which runs go together in a resample, and the two ways to resample.

Runs of one name are one run seen several times, and seeds of one configuration (the same n, d,
batch, learning rate, steps and unique tokens) share whatever that configuration does; both
are resampled together, as one cluster.

With many clusters, whole clusters are drawn with replacement: no assumption about the noise. With
few, such draws would lose whole sizes, so the design is kept and the residuals of whole clusters
are dealt out anew, with random signs, each first divided by sqrt(1 - leverage) because a fit pulls
towards its own points; that assumes the noise is alike at all runs.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from isoloss.fitting.levels import configurations as configurations
from isoloss.laws.forms import Array
from isoloss.runs import Runs

Numbers = NDArray[np.intp]

_MOST_LEVERAGE = 0.95


def clusters(runs: Runs) -> Numbers:
    """Number the clusters: (m,), equal for runs of one name or of one configuration."""
    _, names = np.unique(runs.run, return_inverse=True)
    return _joined((names, configurations(runs)))


def _joined(labels: Iterable[Numbers]) -> Numbers:
    """Give one number to all that are linked through any of the labels."""
    labels = tuple(labels)
    numbers = np.arange(len(labels[0]), dtype=np.intp)
    while True:
        before = numbers
        for label in labels:
            least = np.full(label.max() + 1, len(label), dtype=np.intp)
            np.minimum.at(least, label, numbers)
            numbers = least[label]
        if np.array_equal(before, numbers):
            _, joined = np.unique(numbers, return_inverse=True)
            return joined.astype(np.intp)


def seed_spread(runs: Runs) -> float:
    """Return the standard deviation of log loss between seeds of one configuration.

    Pooled over configurations with replicates; 0 if there are none. A stated standard deviation of
    the losses (`runs.sd`) counts where it is larger.
    """
    numbers = configurations(runs)
    counts = np.bincount(numbers)
    log_loss = np.log(runs.loss)
    means = np.bincount(numbers, log_loss) / counts
    squares = float(np.sum((log_loss - means[numbers]) ** 2))
    spare = int(np.sum(counts - 1))
    spread = float(np.sqrt(squares / spare)) if spare else 0.0
    if runs.sd is not None and np.any(np.isfinite(runs.sd)):
        spread = max(spread, float(np.nanmedian(runs.sd / runs.loss)))
    return spread


def spread_residuals(residuals: Array, jacobian: Array, delta: float | None) -> Array:
    """Return the residuals (m,) divided by sqrt(1 - leverage), jacobian (q, m).

    The leverage is that of the last reweighted step: a run far outside delta pulls little.
    Source: MacKinnon & White 1985 (HC2), with the weights of the robust fit.
    """
    weights = np.ones_like(residuals)
    if delta is not None:
        weights = delta / np.maximum(np.abs(residuals), delta)
    size = np.sqrt(np.maximum((jacobian**2 * weights).sum(axis=1), np.finfo(float).tiny))
    columns = jacobian / size[:, None]
    inverse = np.linalg.pinv((columns * weights) @ columns.T, rcond=1e-13, hermitian=True)
    leverage = weights * np.einsum("im,ij,jm->m", columns, inverse, columns)
    spread: Array = residuals / np.sqrt(1.0 - np.clip(leverage, 0.0, _MOST_LEVERAGE))
    return spread


def drawn_clusters(numbers: Numbers, count: int, random: np.random.Generator) -> Array:
    """Return how often each run is in each of `count` resamples of whole clusters: (count, m)."""
    size = int(numbers.max()) + 1
    drawn = random.multinomial(size, np.full(size, 1.0 / size), size=count)
    return drawn[:, numbers].astype(np.float64)


def dealt_residuals(
    residuals: Array, numbers: Numbers, count: int, random: np.random.Generator
) -> Array:
    """Return residuals dealt out anew by whole clusters, with a random sign each: (count, m).

    A cluster takes the residuals of a cluster drawn at random, in turn from a random place.
    """
    order = np.argsort(numbers, kind="stable")
    sizes = np.bincount(numbers)
    first = np.cumsum(sizes) - sizes
    place = np.empty_like(numbers)
    place[order] = np.arange(len(numbers)) - first[numbers[order]]
    shape = (count, len(sizes))
    donor = random.integers(0, len(sizes), size=shape)
    turn = random.integers(0, sizes.max(), size=shape)
    sign = 2.0 * random.integers(0, 2, size=shape) - 1.0
    given = donor[:, numbers]
    taken = order[first[given] + (place + turn[:, numbers]) % sizes[given]]
    dealt: Array = sign[:, numbers] * residuals[taken]
    return dealt
