"""A task whose every answer is known: a bowl, and gradients with a noise of known covariance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.lab.batch_size.task import Draw, Examples, Task


class Bowl(nn.Module):
    """Weights and nothing else."""

    def __init__(self, start: Sequence[float]) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(start))


def quadratic(
    bends: Sequence[float], start: Sequence[float], noise: float, *, rate: float, **options: Any
) -> Task:
    """The loss h w^2 / 2 summed, of which each example has the gradient h w + noise of its own.

    So Sigma is noise^2 times one, H is diagonal, B_noise = noise^2 sum h / sum h^3 w^2 and
    B_simple = noise^2 d / sum h^2 w^2.
    """
    h = torch.tensor(bends)

    def stream(_: nn.Module, seed: int) -> Draw:
        random = torch.Generator().manual_seed(seed)
        return lambda count: (noise * torch.randn(count, len(h), generator=random),)

    def losses(model: nn.Module, examples: Examples) -> Tensor:
        (x,) = examples
        loss: Tensor = 0.5 * (h * model.weights.square()).sum() + x @ model.weights
        return loss

    return Task(
        name="noisy quadratic",
        unit="examples",
        model=lambda: Bowl(start),
        stream=stream,
        losses=losses,
        held_out=lambda model: float(0.5 * (h * model.weights.square()).sum()),
        baseline=float(0.5 * (h * torch.tensor(start).square()).sum()),
        trivial="no step",
        rate=rate,
        rate_batch=1,
        **options,
    )
