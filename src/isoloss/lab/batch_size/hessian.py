"""The noise scale weighed with the Hessian, at held weights, for any model and any task.

    B_noise = tr(H Sigma) / (G'H G),     eps_max = |G|^2 / (G'H G),     gain = |G|^4 / (2 G'H G)

A step along the gradient of a batch B then does best at the rate eps_max / (1 + B_noise / B), and
lowers the loss by gain / (1 + B_noise / B). H is met only in products with a gradient, by a second
backward pass through the first. Each repeat draws two batches g1, g2 and a third for H: g1'H g2 has
the mean G'HG, which g'Hg of one batch has not; (g1 - g2)'H(g1 - g2) / 2 that of tr(H Sigma) / B.

With an optimizer the step is along P g as Adam has it (`noise_meter.adam`), and P g takes the place
of g beside H: B_noise is tr(PHP Sigma) / (G'PHP G), and |G|^2 is G'P G.

Source: McCandlish et al. 2018, section 2.2, equations 2.6 to 2.8.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from isoloss.errors import InputError
from isoloss.lab.batch_size.task import Draw, Examples, pieces
from isoloss.lab.noise_meter.adam import adam_scales
from isoloss.noise import HessianNoiseScale, NoiseScale, hessian_noise_scale, noise_scale

Losses: TypeAlias = Callable[[nn.Module, Examples], Tensor]
"""(examples,) losses of a model."""

_Vector: TypeAlias = tuple[Tensor, ...]


@dataclass(frozen=True)
class Curvature:
    """What gradients and the Hessian say of a step from held weights; batches are in examples.

    noise: B_noise. simple: B_simple of the same gradients. Both of P g where there is an optimizer.
    """

    noise: HessianNoiseScale
    simple: NoiseScale

    @property
    def eps_max(self) -> float:
        """The best rate of a step along the gradient itself; NaN where the loss curves down."""
        return self.simple.g2 / self.noise.ghg if self.noise.ghg > 0 else math.nan

    @property
    def gain_max(self) -> float:
        """By how much that step lowers the loss, were the loss a parabola."""
        return 0.5 * self.simple.g2 * self.eps_max


def measure_curvature(
    model: nn.Module,
    losses: Losses,
    draw: Draw,
    *,
    batch: int,
    repeats: int,
    hessian_batch: int | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    level: float = 0.9,
) -> Curvature:
    """Measure B_noise, and B_simple beside it, of a model as it is.

    losses: (examples,) from a model and what was drawn; its gradients must themselves have
    gradients, as `LanguageModel.loss(..., reduction="none")` does. draw: examples, independent.
    batch: of g1 and of g2. repeats: draws of three batches. hessian_batch: of the third, by default
    `batch`. optimizer: an Adam or AdamW that has taken a step, for steps along P g.
    Where the losses are not an expectation over fixed examples (a policy's returns), H is that of
    the losses as they stand, not of what is maximised.
    Returns Curvature; `noise` is not measurable where G'HG cannot be told from zero.
    Raises InputError for fewer than one example or repeat, and an optimizer that has
    no state of a parameter that learns.
    """
    third = batch if hessian_batch is None else hessian_batch
    if min(batch, repeats, third) < 1:
        raise InputError("batch, repeats and hessian_batch are whole numbers from 1")
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    own, scales, found = tuple(trained.values()), None, []
    with _twice_differentiable(model):
        for _ in range(repeats):
            g1, g2 = (_gradient(model, losses, draw(batch), own) for _ in range(2))
            if optimizer is not None and scales is None:
                scales = adam_scales(optimizer, trained, g1)
            u1, u2 = (_product(g, scales) for g in (g1, g2))
            h1, h2 = _hessian_products(model, losses, draw(third), own, (u1, u2))
            apart = tuple(a - b for a, b in zip(u1, u2, strict=True))
            bend = tuple(a - b for a, b in zip(h1, h2, strict=True))
            cross = _dot(u2, h1)
            norms = 0.5 * (_dot(g1, u1) + _dot(g2, u2))
            found.append((cross, cross + 0.5 * _dot(apart, bend), norms, _dot(g1, u2)))
    cross, same, norms, both = np.array(found).T
    return Curvature(
        hessian_noise_scale(cross, same, batch=batch, level=level),
        noise_scale(norms, 0.5 * (norms + both), small=batch, big=2 * batch, level=level),
    )


@contextmanager
def _twice_differentiable(model: nn.Module) -> Iterator[None]:
    """Attention by torch's plain formula: fused kernels and blocks have one backward pass only."""
    blocked: list[Any] = [one for one in model.modules() if getattr(one, "blocked", False) is True]
    for module in blocked:
        module.blocked = False
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for module in blocked:
            module.blocked = True


def _gradient(model: nn.Module, losses: Losses, examples: Examples, own: _Vector) -> _Vector:
    """The gradient of the mean loss; zero for parameters that have none."""
    total = tuple(torch.zeros_like(one) for one in own)
    for piece in pieces(examples):
        loss = losses(model, piece).sum() / len(examples[0])
        found = torch.autograd.grad(loss, own, materialize_grads=True)
        total = tuple(a + b for a, b in zip(total, found, strict=True))
    return total


def _hessian_products(
    model: nn.Module, losses: Losses, examples: Examples, own: _Vector, along: Sequence[_Vector]
) -> list[_Vector]:
    """H v of the mean loss for each v."""
    totals = [tuple(torch.zeros_like(one) for one in own) for _ in along]
    for piece in pieces(examples):
        loss = losses(model, piece).sum() / len(examples[0])
        slopes = torch.autograd.grad(loss, own, create_graph=True, materialize_grads=True)
        for k, v in enumerate(along):
            slope = torch.stack([(a * b).sum() for a, b in zip(slopes, v, strict=True)]).sum()
            if not slope.requires_grad:  # the loss is a plane in the weights
                continue
            found = torch.autograd.grad(
                slope, own, retain_graph=k + 1 < len(along), materialize_grads=True
            )
            totals[k] = tuple(a + b for a, b in zip(totals[k], found, strict=True))
    return totals


def _product(vector: _Vector, scales: _Vector | None) -> _Vector:
    return vector if scales is None else tuple(a * b for a, b in zip(vector, scales, strict=True))


def _dot(a: _Vector, b: _Vector) -> float:
    return float(torch.stack([(x * y).sum() for x, y in zip(a, b, strict=True)]).double().sum())
