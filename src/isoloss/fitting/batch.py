"""Solve thousands of resampled problems together: chunks that fit in cache, on a few threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

import numpy as np

from isoloss.fitting.design import Design
from isoloss.fitting.polish import Solutions, polish
from isoloss.laws.forms import Array

_CELLS = 32_000  # numbers per array of a block
_MOST_ROWS = 256
_BLOCKS = 2  # solved together: fewer and the threads wait for each other, more and caches overflow
_TOLERANCE = 1e-8

Resample = Callable[[int, int], tuple[Array, Array]]


def solve_many(
    design: Design, starts: Array, resample: Resample, count: int, delta: float | None
) -> Solutions:
    """Solve `count` problems, each from every start (s, q), and keep the lowest of each.

    starts: the optimum of the data themselves, and the other minima that a resample may prefer.
    resample: called with (block number, how many), returns log losses and weights, each (1, m) or
    (how many, m). A block depends on its number only, so the result does not depend on the threads.
    """
    from concurrent.futures import ThreadPoolExecutor  # slow to load, and only needed here

    rows = int(np.clip(_CELLS // len(design.log_loss), 1, _MOST_ROWS))
    sizes = [min(rows, count - first) for first in range(0, count, rows)]
    chunks = [range(first, len(sizes))[:_BLOCKS] for first in range(0, len(sizes), _BLOCKS)]

    def solve_chunk(numbers: range) -> Solutions:
        log_losses, all_weights = zip(*(resample(i, sizes[i]) for i in numbers), strict=True)
        log_loss, weights = _joined(log_losses), _joined(all_weights)
        size = sum(sizes[i] for i in numbers)
        best: Solutions | None = None
        for start in starts:
            begun = np.repeat(start[None], size, axis=0)
            found = polish(design, begun, log_loss, weights, delta, tolerance=_TOLERANCE)
            best = found if best is None else best.lower(found)
        assert best is not None
        return best

    with ThreadPoolExecutor(max_workers=min(len(chunks), _threads())) as pool:
        parts = list(pool.map(solve_chunk, chunks))
    return Solutions(
        np.concatenate([part.coordinates for part in parts]),
        np.concatenate([part.objectives for part in parts]),
        np.concatenate([part.converged for part in parts]),
    )


def _joined(blocks: Sequence[Array]) -> Array:
    """The blocks below each other; a row that all share, once."""
    first = blocks[0]
    if len(first) == 1 and all(np.array_equal(first, block) for block in blocks[1:]):
        return first
    return np.concatenate(blocks)


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(8, len(os.sched_getaffinity(0))))
    return max(1, min(8, os.cpu_count() or 1))
