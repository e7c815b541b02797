"""How a law drifts away from the runs: a Brownian path along an axis, such as log compute.

A law fitted at one scale is wrong by a little at another, all runs there alike, and the more so the
farther away. The simplest such error is a Brownian path pinned at an anchor: its variance grows as
the distance from it, on either side, and runs close to one another share nearly all of it.

On the runs the path is a sum of independent standard normals through a basis: one hat for each
step between neighbouring knots. That is exact at the knots, which are the runs' own places unless
there are very many.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from isoloss.laws.forms import Array

_MOST_KNOTS = 20  # on either side; more places than that share knots
_NEAR = 1e-9


@dataclass(frozen=True)
class BrownianPath:
    """A Brownian path of unit variance per unit of distance, zero at the anchor.

    below, above: distances of the knots on the two sides, rising, each (r,).
    """

    anchor: float
    below: Array
    above: Array

    @classmethod
    def through(cls, places: Array, anchor: float) -> BrownianPath:
        """Lay a path through places (m,)."""
        away = places - anchor
        return cls(anchor, _knots(-away), _knots(away))

    def basis(self, places: Array) -> Array:
        """Return the path at places (m,) as coefficients of independent normals: (m, r).

        Beyond the last knot the path stays where it was; `reach` is what it has gone since.
        """
        away = np.asarray(places) - self.anchor
        return np.concatenate([_hats(-away, self.below), _hats(away, self.above)], axis=1)

    def reach(self, places: Array) -> Array:
        """Return the standard deviation of the path at places (m,) since the last knot: (m, 2).

        First below the anchor, then above it: the two sides are independent.
        """
        away = np.asarray(places) - self.anchor
        past = [
            np.maximum(side - (knots[-1] if len(knots) else 0.0), 0.0)
            for side, knots in ((-away, self.below), (away, self.above))
        ]
        deviation: Array = np.sqrt(np.stack(past, axis=1))
        return deviation


def _knots(distance: Array) -> Array:
    """Distances of the knots on the side where `distance` is positive."""
    found = np.unique(distance[distance > _NEAR])
    if len(found) > _MOST_KNOTS:
        found = np.linspace(0.0, found[-1], _MOST_KNOTS + 1)[1:]
    kept = np.diff(found, prepend=0.0) > _NEAR
    return np.asarray(found[kept], dtype=np.float64)


def _hats(distance: Array, knots: Array) -> Array:
    """How much of the step to each knot lies between the anchor and each place: (m, r)."""
    start = np.concatenate([np.zeros(min(1, len(knots))), knots[:-1]])
    step = knots - start
    share: Array = np.clip((distance[:, None] - start) / step, 0.0, 1.0) * np.sqrt(step)
    return share
