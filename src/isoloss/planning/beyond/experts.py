"""How large, and of what grain, a mixture of experts should be for a budget.

The law counts all parameters of a mixture, its cost only those that a token uses; finer experts
lower the loss and make the router dearer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.allocation import HoldsLaw, allocate, held_law
from isoloss.laws.forms import Array, Coefficient, as_coefficient, positive
from isoloss.laws.variants import FineGrainedMoE

EXPANSION = 64.0
"""Parameters of all experts over those of the dense layer they stand for, in the paper's runs."""

ROUTER = 14.0
"""FLOPs of the router per unit of width and expert, and token (`expert_flops`)."""

GRAINS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)
"""The granularities that are tried where none are given."""

_WIDTH = 64.0  # width per block


@dataclass(frozen=True)
class Mixture:
    """A mixture of experts for a budget.

    n: all parameters but the embedding, n_active: those that a token uses. d: tokens.
    granularity: d_ff of the dense layer over that of an expert. loss: nats. flops: of training.
    others: the loss at every granularity tried, (granularity, loss) each. at_edge: whether the best
    granularity is the least or greatest tried.
    """

    n: float
    n_active: float
    d: float
    granularity: float
    loss: float
    flops: float
    others: tuple[tuple[float, float], ...]
    at_edge: bool


def allocate_experts(
    law: FineGrainedMoE | HoldsLaw,
    flops: float,
    *,
    granularities: Sequence[float] = GRAINS,
    expansion: float = EXPANSION,
) -> Mixture:
    """Find the size, tokens and granularity of least loss for a budget.

    minimise law(n, d, granularity) subject to expert_flops(n_active, granularity) * d = flops,
    n = total_size(n_active).
    law: FineGrainedMoE, or what holds one: published.KRAJEWSKI_2024. flops: training FLOPs.
    granularities: those to choose from. expansion: of the experts; the published law is for 64 and
    is no law of it.
    Returns Mixture. Raises InputError for a law of another form or a bad budget or granularity.
    Source: Krajewski et al. 2024; their compute-optimal table is met in granularity, and
    within 3 % in size and tokens. Left out: communication between machines, memory.
    """
    form = held_law(law)
    if not isinstance(form, FineGrainedMoE):
        raise InputError(
            f"{type(form).__name__} is no law of experts: give a FineGrainedMoE, such as "
            "published.KRAJEWSKI_2024"
        )
    grains = np.unique(positive(granularities, "granularities"))
    if not grains.size:
        raise InputError("granularities is empty: give at least one")
    whole = float(total_size(1.0, expansion=expansion))
    found = [
        allocate(_of_grain(form, whole, grain), flops, cost=_cost_of_grain(grain, expansion))
        for grain in grains
    ]
    losses = [float(choice.loss) for choice in found]
    best = int(np.argmin(losses))
    active = float(found[best].n)
    return Mixture(
        n=whole * active,
        n_active=active,
        d=float(found[best].d),
        granularity=float(grains[best]),
        loss=losses[best],
        flops=float(flops),
        others=tuple(zip(grains.tolist(), losses, strict=True)),
        at_edge=best in (0, len(grains) - 1),
    )


def total_size(n_active: ArrayLike, *, expansion: float = EXPANSION) -> Coefficient:
    """Return all parameters of a mixture, from those that a token uses.

    n = n_active * (4 + 8 * expansion) / 12: attention has 4 of the 12 squares of the width in a
    block and stays as it is, the feed-forward 8, times the expansion. At 64 that is 43 n_active.
    n_active: parameters but the embedding, any shape. expansion: 1 is the dense model.
    Raises InputError for what is not positive.
    Source: Krajewski et al. 2024, whose law takes the total and whose models are named by n_active.
    Left out: the router, width * expansion * granularity in a block.
    """
    width_squares = 4.0 + 8.0 * float(positive(expansion, "expansion"))
    return as_coefficient(positive(n_active, "n_active") * width_squares / 12.0)


def expert_flops(
    n_active: ArrayLike, granularity: ArrayLike, *, expansion: float = EXPANSION
) -> Array:
    """Return the training FLOPs per token of a mixture.

    (12 * width ** 2 * 6 + width * expansion * granularity * 14) * blocks, width = 64 * blocks,
    n_active = 12 * width ** 2 * blocks: 6 n_active, and the router.
    n_active: parameters that a token uses, but the embedding. granularity: d_ff of the dense layer
    over that of an expert; they broadcast. expansion: of the experts.
    Raises InputError for what is not positive.
    Source: Krajewski et al. 2024, with c_f = 6 and c_r = 14 as the paper's table implies them: its
    rows give 13.2 to 14.3. Left out: attention over the context, the head.
    """
    active, grain = positive(n_active, "n_active"), positive(granularity, "granularity")
    blocks = (active / (12.0 * _WIDTH**2)) ** (1.0 / 3.0)
    router = _WIDTH * blocks**2 * float(positive(expansion, "expansion")) * grain * ROUTER
    return np.asarray(6.0 * active + router)


def _of_grain(law: FineGrainedMoE, whole: float, grain: float) -> Callable[[Array, Array], Array]:
    return lambda active, d: law(whole * active, d, grain)


def _cost_of_grain(grain: float, expansion: float) -> Callable[[Array], Array]:
    return lambda active: expert_flops(active, grain, expansion=expansion)
