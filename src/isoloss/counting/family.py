"""The cost of a family of shapes: FLOPs per token as a smooth function of size.

An optimum is sought over a continuous n, while exact FLOPs belong to shapes; this joins the two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from isoloss.counting.flops import CConvention, flops_per_token
from isoloss.counting.nearby import Nearby, Style, shape_near
from isoloss.counting.parameters import NConvention, count_params
from isoloss.counting.shape import Shape
from isoloss.errors import InputError

Floats = NDArray[np.float64]

_SIZES_PER_DECADE = 4


@dataclass(frozen=True)
class Family:
    """Models of one kind at every size; vocab, n_ctx, style, group and tied as in `shape_near`."""

    vocab: int = 32_000
    n_ctx: int = 2_048
    style: Style = "modern"
    group: int = 1
    tied: bool | None = None

    def __post_init__(self) -> None:
        self.near(1e6)  # refuses what no shape can have, before any work

    def near(self, n: float, convention: NConvention = "non_embedding_plus_head") -> Nearby:
        """Return a shape of this family near n parameters, counted by the convention."""
        return shape_near(
            n,
            vocab=self.vocab,
            n_ctx=self.n_ctx,
            style=self.style,
            convention=convention,
            group=self.group,
            tied=self.tied,
        )

    def cost(
        self,
        low: float = 1e5,
        high: float = 1e13,
        convention: NConvention = "non_embedding_plus_head",
        flops: CConvention = "exact",
    ) -> Callable[[ArrayLike], Floats]:
        """Return n -> FLOPs per token, as `family_cost`, through shapes between two sizes."""
        count = max(2, math.ceil(_SIZES_PER_DECADE * math.log10(high / low)))
        sizes = np.geomspace(low, high, count).tolist()
        return family_cost({self.near(n, convention).shape for n in sizes}, convention, flops)


def family_cost(
    shapes: Iterable[Shape],
    convention: NConvention = "non_embedding_plus_head",
    flops: CConvention = "exact",
) -> Callable[[ArrayLike], Floats]:
    """Make the function n -> training FLOPs per token of a family of shapes.

    log cost is a monotone piecewise cubic of log n through the shapes, with continuous slope, and
    goes on straight outside them with the slope of the last two; one shape alone gives cost
    proportional to n. Shapes so alike in size that a larger one costs no more are merged into
    their geometric mean, so that cost always rises with n.
    shapes: any order, repeats allowed. convention: how n is counted. flops: how cost is counted.
    Returns a function of n in parameters (any shape) to FLOPs per token (the same shape).
    Raises InputError if there is no shape.
    Source: Fritsch and Butland 1984 for the slopes (the harmonic mean of the neighbouring secants).
    """
    points = sorted(
        {(count_params(shape, convention), flops_per_token(shape, flops)) for shape in shapes}
    )
    if not points:
        raise InputError("a family needs at least one shape to have a cost")
    x, y = _rising(np.log(np.array(points, dtype=np.float64)))
    if len(x) == 1:
        slopes = np.ones(1)
    else:
        slopes = _slopes(np.diff(y) / np.diff(x))

    def cost(n: ArrayLike) -> Floats:
        log_n = np.log(np.asarray(n, dtype=np.float64))
        return np.asarray(np.exp(_hermite(log_n, x, y, slopes)))

    return cost


def _rising(points: Floats) -> tuple[Floats, Floats]:
    """Merge neighbours until y rises strictly with x: points (k, 2) in logs, sorted by x."""
    blocks: list[tuple[Floats, int]] = []
    for point in points:
        mean, count = point, 1
        while blocks and (mean[0] <= blocks[-1][0][0] or mean[1] <= blocks[-1][0][1]):
            other, size = blocks.pop()
            mean, count = (mean * count + other * size) / (count + size), count + size
        blocks.append((mean, count))
    merged = np.array([mean for mean, _ in blocks])
    return merged[:, 0], merged[:, 1]


def _slopes(secants: Floats) -> Floats:
    inner = 2.0 / (1.0 / secants[:-1] + 1.0 / secants[1:])
    return np.concatenate([secants[:1], inner, secants[-1:]])


def _hermite(at: Floats, x: Floats, y: Floats, slopes: Floats) -> Floats:
    inside = np.clip(at, x[0], x[-1])
    beyond = at - inside
    tail = np.where(beyond < 0, slopes[0], slopes[-1]) * beyond
    if len(x) == 1:
        return np.asarray(y[0] + tail)
    k = np.clip(np.searchsorted(x, inside, side="right") - 1, 0, len(x) - 2)
    width = x[k + 1] - x[k]
    t = (inside - x[k]) / width
    rise = t * t * (3.0 - 2.0 * t)
    bend = width * t * (1.0 - t) * ((1.0 - t) * slopes[k] - t * slopes[k + 1])
    return np.asarray(y[k] + (y[k + 1] - y[k]) * rise + bend + tail)
