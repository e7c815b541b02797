"""Optimizers and learning-rate schedules: the rate at every step, and what applies it.

`adamw` decays matrices and embeddings, never biases and norms; `adam` decays nothing.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from isoloss.errors import InputError
from isoloss.runs import RunSpec, Schedule


def learning_rate(spec: RunSpec, step: int) -> float:
    """The learning rate of update `step` (0-based) of `spec.steps`.

    Warm-up: lr (step + 1) / w over the first w = warmup * steps updates (at least one). After it,
    with u in (0, 1] the part of the remaining updates done and f = final:
    cosine    lr (f + (1 - f) (1 + cos(pi u)) / 2)
    linear    lr (1 - (1 - f) u)
    constant  lr
    wsd       lr, then linearly to f lr over the last `decay` of all updates
    Source: Kaplan et al. 2020 D.6 (cosine, linear), Hu et al. 2024 (warm-up, stable, decay).
    """
    schedule, steps = spec.schedule, spec.steps
    warmup = warmup_steps(schedule, steps)
    if step < warmup:
        return spec.lr * (step + 1) / warmup
    if schedule.kind == "constant":
        return spec.lr
    if schedule.kind == "wsd":
        decay = max(1, round(schedule.decay * steps))
        done = max(0.0, (step + 1 - (steps - decay)) / decay)
        return spec.lr * (1.0 - (1.0 - schedule.final) * done)
    done = (step + 1 - warmup) / max(1, steps - warmup)
    if schedule.kind == "linear":
        return spec.lr * (1.0 - (1.0 - schedule.final) * done)
    return spec.lr * (
        schedule.final + (1.0 - schedule.final) * 0.5 * (1.0 + math.cos(math.pi * done))
    )


def warmup_steps(schedule: Schedule, steps: int) -> int:
    """Updates of linear warm-up: a share of all updates, at least one."""
    return max(1, round(schedule.warmup * steps))


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """The optimizer named by `spec.optimizer` over the parameters of `model`."""
    decayed = [p for p in model.parameters() if p.ndim >= 2]
    others = [p for p in model.parameters() if p.ndim < 2]
    if spec.optimizer == "adamw":
        weight_decay = spec.weight_decay
    elif spec.optimizer == "adam":
        weight_decay = 0.0
    else:
        raise InputError(f"optimizer is {spec.optimizer!r}: use 'adamw' or 'adam'")
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        groups, lr=spec.lr, betas=(spec.beta1, spec.beta2), eps=spec.eps, fused=True
    )
