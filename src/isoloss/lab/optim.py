"""Optimizers and learning rates: what applies the rate of every step.

`adamw` decays matrices and embeddings, never biases and norms; `adam` decays nothing.
"""

from __future__ import annotations

import torch
from torch import nn

from isoloss.errors import InputError
from isoloss.runs import RunSpec, scheduled_rate


def learning_rate(spec: RunSpec, step: int) -> float:
    """The learning rate of update `step` (0-based) of `spec.steps`: `runs.scheduled_rate`."""
    return scheduled_rate(spec.schedule, spec.lr, spec.steps, step)


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
