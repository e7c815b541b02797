"""The gradient noise scale: how large a batch is before its gradient is mostly signal.

    E|g_b|^2 = |G|^2 + tr(Sigma) / b,          B_simple = tr(Sigma) / |G|^2

g_b is the mean gradient of b examples, G what it is the mean of, Sigma the covariance of one
example's gradient. Squared norms at two sizes give both terms without bias; each is averaged over
steps and the ratio is taken last, for the ratio of two noisy numbers is biased, and averaging it
does not help. An interval goes with it (Fieller): where |G|^2 cannot be told from zero there is no
upper end, and the answer is "not yet measurable", with a lower bound. No estimate of a step is
clipped; a mean below zero counts as zero.

B_noise = tr(H Sigma) / (G'HG) weighs both terms with the Hessian, and has the same form.

Sizes are in whatever unit examples are counted in (sequences, tokens, images); so is the answer.
Source: McCandlish et al. 2018, sections 2.2 to 2.4 and appendix A.1; Fieller 1954 (the interval);
Sokal 1997 (the autocorrelation time). Norms may be weighed by what an optimizer makes of gradients,
as `lab.noise_meter` does for Adam: nothing here depends on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.distributions import student_quantile
from isoloss.errors import InputError, Status

Array: TypeAlias = NDArray[np.float64]

_WINDOW = 5.0  # autocorrelation times that an estimate of one sums over
_FEWEST_BLOCKS = 8
_IMPOSSIBLE = 4.0  # standard errors below zero, from where on it is no bad luck


@dataclass(frozen=True, kw_only=True)
class _Ratio:
    """What every ratio of two averaged series comes with.

    low, high: the ends of the interval at `level`; high is infinite where the lower term cannot be
    told from zero, and low then a bound, at a level of (1 + level) / 2 for itself. steps: how many
    were averaged. block: steps whose mean is held to be independent of the next. status:
    `NOT_MEASURABLE`, `FEW_STEPS`, `NEGATIVE_NOISE` (of a variance), or none.
    """

    low: float
    high: float
    level: float
    steps: int
    block: int
    status: tuple[Status, ...]


@dataclass(frozen=True, kw_only=True)
class NoiseScale(_Ratio):
    """B_simple with its interval (low, high), in the unit that `small` and `big` were given in.

    b_simple: tr_sigma / g2; infinite where g2 came out zero or less, zero where tr_sigma alone did.
    g2: |G|^2. tr_sigma: tr(Sigma) for one unit. g2_se, tr_sigma_se: their standard errors. Of the
    interval and the rest: high is infinite where g2 cannot be told from zero, and low a bound then.
    """

    b_simple: float
    g2: float
    tr_sigma: float
    g2_se: float
    tr_sigma_se: float


@dataclass(frozen=True, kw_only=True)
class HessianNoiseScale(_Ratio):
    """B_noise with its interval, as `NoiseScale`; ghg is G'HG and tr_h_sigma is tr(H Sigma).

    b_noise is not a number where G'HG came out zero or less: the loss does not curve upwards along
    the gradient, and no step size is best.
    """

    b_noise: float
    ghg: float
    tr_h_sigma: float
    ghg_se: float
    tr_h_sigma_se: float


def noise_scale(
    sq_small: ArrayLike,
    sq_big: ArrayLike,
    *,
    small: ArrayLike,
    big: ArrayLike,
    level: float = 0.9,
) -> NoiseScale:
    """Measure B_simple = tr(Sigma) / |G|^2 from squared gradient norms at two batch sizes.

        |G|^2 = (big sq_big - small sq_small) / (big - small)
        tr(Sigma) = (sq_small - sq_big) / (1/small - 1/big)

    sq_small, sq_big: (steps,) squared norms of the mean gradient of a small and of a big batch, the
    former, as a rule, the mean over the parts of the latter (`effective_small`). small, big: their
    sizes, numbers or (steps,). Steps count by their big batch. level: of the interval.
    Returns a NoiseScale. Weak data give a wide interval, never an error; steps whose norms are not
    finite are left out.
    Raises InputError for arrays of other shapes, sizes that are not 0 < small < big, and no steps.
    Source: McCandlish et al. 2018, appendix A.1.
    """
    sq_small, sq_big, small, big = _columns(sq_small, sq_big, small, big)
    with np.errstate(over="ignore", invalid="ignore"):
        g2 = (big * sq_big - small * sq_small) / (big - small)
        tr_sigma = (sq_small - sq_big) / (1.0 / small - 1.0 / big)
    (above, above_se), (below, below_se), interval = _ratio(tr_sigma, g2, big, level)
    if above < -_IMPOSSIBLE * above_se:
        interval = replace(interval, status=(*interval.status, Status.NEGATIVE_NOISE))
    return NoiseScale(
        b_simple=max(above / below, 0.0) if below > 0 else math.inf,
        g2=below,
        tr_sigma=above,
        g2_se=below_se,
        tr_sigma_se=above_se,
        **vars(interval),
    )


def hessian_noise_scale(
    ghg: ArrayLike, ghg_same: ArrayLike, *, batch: ArrayLike, level: float = 0.9
) -> HessianNoiseScale:
    """Measure B_noise = tr(H Sigma) / (G'HG) from products of gradients with the Hessian.

        E g'Hg = G'HG + tr(H Sigma) / batch,     E g'Hg2 = G'HG

    ghg: (steps,) g'H g2 of the gradients of two independent batches: g'Hg of one batch is too large
    by tr(H Sigma) / batch. ghg_same: (steps,) g'Hg of one batch; H is of a third, or of all.
    batch: examples in each, a number or (steps,). level: of the interval.
    Returns a HessianNoiseScale; raises InputError as `noise_scale`.
    Source: McCandlish et al. 2018, equation 2.8.
    """
    cross, same, _, batch = _columns(ghg, ghg_same, 0.5, batch)
    with np.errstate(over="ignore", invalid="ignore"):
        tr_h_sigma = batch * (same - cross)
    (above, above_se), (below, below_se), interval = _ratio(tr_h_sigma, cross, batch, level)
    return HessianNoiseScale(
        b_noise=max(above / below, 0.0) if below > 0 else math.nan,
        ghg=below,
        tr_h_sigma=above,
        ghg_se=below_se,
        tr_h_sigma_se=above_se,
        **vars(interval),
    )


def effective_small(sizes: ArrayLike) -> float:
    """The small batch that unequal parts of a batch stand for: their total over their number.

    The squared norms of parts of b_i examples, weighed by b_i, have the mean
    |G|^2 + tr(Sigma) k / sum(b_i): that of one part of sum(b_i) / k examples.
    sizes: (k,) examples in each part. Raises InputError where one is not above 0.
    """
    parts = np.asarray(sizes, dtype=np.float64)
    if parts.ndim != 1 or not parts.size or not (np.isfinite(parts) & (parts > 0)).all():
        raise InputError("sizes are the examples of each part: a list of numbers above 0")
    return float(parts.sum() / parts.size)


def adaptive_gain(b_noise: ArrayLike, steps: ArrayLike) -> float:
    """What a batch that follows the noise scale leaves of the price of a fixed one: gamma <= 1.

        gamma = (integral sqrt(B) ds)^2 / (integral ds * integral B ds)

    With a batch of sqrt(r B), (S/S_min - 1)(E/E_min - 1) is gamma, whatever r; with a fixed one, 1.
    b_noise: (m,) the noise scale. steps: (m,) at which it is that, rising, counted as if batches
    were very large: one at a batch b counts 1 / (1 + B/b). Straight between them.
    Returns gamma; 24/25 for B in proportion to sqrt(s). Raises InputError for columns of unlike
    length, fewer than two entries, noise scales below zero or all zero, and steps that do not rise.
    Source: McCandlish et al. 2018, appendix D.
    """
    b, s = (np.asarray(one, dtype=np.float64) for one in (b_noise, steps))
    if b.ndim != 1 or b.shape != s.shape or b.size < 2:
        raise InputError("b_noise and steps are lists of one length, of two or more")
    if not (np.isfinite(b) & (b >= 0)).all() or not b.any():
        raise InputError("noise scales are finite and not below zero, and one is above it")
    if not np.isfinite(s).all() or not (np.diff(s) > 0).all():
        raise InputError("steps must rise from one entry to the next")
    # Of a straight piece, exactly: sqrt(B) averages to 2/3 (a + c - ac / (a + c)), its ends' roots.
    a, c = np.sqrt(b[:-1]), np.sqrt(b[1:])
    total = np.where(a + c > 0, a + c, 1.0)
    roots = 2.0 / 3.0 * (a + c - a * c / total)
    middles = 0.5 * (b[:-1] + b[1:])
    ds = np.diff(s)
    return float((roots @ ds) ** 2 / (ds.sum() * (middles @ ds)))


def _columns(*given: ArrayLike) -> tuple[Array, ...]:
    """The two series and the two sizes, all (steps,), steps that are not finite left out."""
    first, second, small, big = (np.asarray(one, dtype=np.float64) for one in given)
    if first.ndim != 1 or first.shape != second.shape:
        raise InputError(
            f"the two series of squared norms are lists of one length, not {first.shape} and "
            f"{second.shape}"
        )
    if any(one.shape not in ((), first.shape) for one in (small, big)):
        raise InputError(f"sizes are numbers, or one for each of the {first.size} steps")
    small, big = (np.broadcast_to(one, first.shape) for one in (small, big))
    if not (np.isfinite(big) & (small > 0) & (small < big)).all():
        raise InputError("sizes must be 0 < small < big at every step")
    kept = np.isfinite(first) & np.isfinite(second)
    if not kept.any():
        raise InputError("no step has finite squared norms; measure again")
    return first[kept], second[kept], small[kept], big[kept]


_Mean: TypeAlias = tuple[float, float]
"""A mean and its standard error."""


def _ratio(above: Array, below: Array, weight: Array, level: float) -> tuple[_Mean, _Mean, _Ratio]:
    """Two weighted means, and Fieller's interval of their ratio on means of blocks."""
    if not 0 < level < 1:
        raise InputError(f"level is a share between 0 and 1, such as 0.9, not {level!r}")
    pair = np.stack([above, below])  # (2, steps)
    mean = (pair * weight).sum(axis=1) / weight.sum()
    steps = above.size
    status: list[Status] = []
    wanted = block = _block(pair - mean[:, None])
    if steps < _FEWEST_BLOCKS:
        status.append(Status.FEW_STEPS)
        covariance, quantile = np.full((2, 2), math.inf), math.inf
    else:
        block = min(wanted, steps // _FEWEST_BLOCKS)
        if block < wanted or steps < 2 * _FEWEST_BLOCKS:
            status.append(Status.FEW_STEPS)
        covariance, degrees = _covariance(pair - mean[:, None], weight, block)
        quantile = student_quantile(0.5 + 0.5 * level, degrees)
    low, high = _fieller(mean, covariance, quantile)
    if not math.isfinite(high):
        status.append(Status.NOT_MEASURABLE)
    errors = np.sqrt(np.diag(covariance)).tolist()
    interval = _Ratio(
        low=low, high=high, level=level, steps=steps, block=block, status=tuple(status)
    )
    return (float(mean[0]), errors[0]), (float(mean[1]), errors[1]), interval


def _block(away: Array) -> int:
    """Steps to a block, so that block means are nearly independent: from the slower of two series.

    With tau = 1 + 2 sum rho_t, summed to the first window of five tau, 2 (tau - 1) + 1 steps.
    """
    slowest = max(_autocorrelation_time(series) for series in away)
    return math.ceil(2.0 * (slowest - 1.0)) + 1


def _autocorrelation_time(away: Array) -> float:
    size = away.size
    power = float(away @ away)
    if size < _FEWEST_BLOCKS or power == 0.0:
        return 1.0
    spectrum = np.fft.rfft(away, 2 * size)
    correlation = np.fft.irfft(spectrum * np.conj(spectrum))[:size] / power
    times = 2.0 * np.cumsum(correlation) - 1.0
    enough = np.flatnonzero(np.arange(size) >= _WINDOW * times)
    return max(1.0, float(times[enough[0] if enough.size else -1]))


def _covariance(away: Array, weight: Array, block: int) -> tuple[Array, float]:
    """Covariance (2, 2) of the two weighted means, from those of blocks, and its degrees."""
    starts = np.arange(0, weight.size - block + 1, block)
    ends = np.append(starts[1:], weight.size)  # the last block takes what is left over
    sums = np.stack(
        [(away[:, a:b] * weight[a:b]).sum(axis=1) for a, b in zip(starts, ends, strict=True)]
    )
    # Each sum has mean zero, so that of squares is the variance of the total; k / (k - 1) for the
    # mean that was taken off.
    count = len(starts)
    covariance = sums.T @ sums / weight.sum() ** 2 * count / (count - 1)
    return covariance, float(count - 1)


def _fieller(mean: Array, covariance: Array, quantile: float) -> tuple[float, float]:
    """The ratios r >= 0 for which above - r below may be zero: (low, high).

    (a - r b)^2 <= q^2 (v_aa - 2 r v_ab + r^2 v_bb), a parabola in r. It opens upwards where b is
    told from zero, and the set is an interval; else it has no upper end.
    """
    a, b = mean.tolist()
    if not np.isfinite(covariance).all():
        return 0.0, math.inf
    v_aa, v_ab, v_bb = covariance[[0, 0, 1], [0, 1, 1]].tolist()
    q2 = quantile**2
    measurable = b > 0 and b * b > q2 * v_bb
    b = max(b, 0.0)  # |G|^2 cannot be negative: the further below zero, the less it says
    second = b * b - q2 * v_bb
    middle = a * b - q2 * v_ab
    last = a * a - q2 * v_aa
    root = math.sqrt(max(0.0, middle * middle - second * last))
    # (middle - root) / second, in the form that stays whole where second is zero.
    low = last / (middle + root) if a > 0 and last > 0 and middle + root > 0 else 0.0
    return low, max(0.0, (middle + root) / second) if measurable else math.inf
