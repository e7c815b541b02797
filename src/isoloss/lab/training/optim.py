"""Optimizers and learning rates: what applies the rate of every step.

Matrices and embeddings are decayed, biases and norms never; `adam` decays nothing. Adam, AdamW,
Adafactor, SGD and Muon are torch's own. Three things to know of them:

* adafactor: the rate is relative to the size of what it changes, and torch holds it to at most
  1 / sqrt(step), whatever the schedule says. There is no first moment.
* sgd: heavy-ball momentum; weight decay is added to the gradient.
* muon: matrices inside the model go by Muon, embeddings, head, biases and norms by AdamW. Its
  updates are scaled to the size of AdamW's, so that one rate and one decay serve both.

Source: Kingma & Ba 2015; Loshchilov & Hutter 2019; Shazeer & Stern 2018; Jordan et al. 2024 and
Liu et al. 2025 (Muon, and its scale). Left out: Muon apart for queries, keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from isoloss.errors import InputError
from isoloss.lab.training.width import matrices_inside, mup_groups
from isoloss.runs import RunSpec, scheduled_rate
from isoloss.runs.spec import MOMENTUM


def learning_rate(spec: RunSpec, step: int) -> float:
    """The learning rate of update `step` (0-based) of `spec.steps`: `runs.scheduled_rate`."""
    return scheduled_rate(spec.schedule, spec.lr, spec.steps, step)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of parameters the rate of the next update, times its own scale if any."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_scale", 1.0)


def make_optimizer(model: nn.Module, spec: RunSpec) -> torch.optim.Optimizer:
    """The optimizer named by `spec.optimizer` over the parameters of `model`."""
    weight_decay = 0.0 if spec.optimizer == "adam" else spec.weight_decay
    if spec.optimizer == "muon":
        inside = matrices_inside(model)
        return MuonAndAdamW(
            [{"params": inside, "weight_decay": weight_decay}],
            _groups(model, weight_decay, without=inside),
            spec,
        )
    if spec.parametrization == "mup":
        return _adamw(mup_groups(model, spec, weight_decay), spec)
    groups = _groups(model, weight_decay)
    parts = any(hasattr(parameter, "full_tensor") for parameter in model.parameters())
    if parts and spec.optimizer == "adafactor":
        raise InputError(
            "optimizer is adafactor, whose step torch cannot do on parts of a matrix (fsdp): share "
            "the run by ddp, or choose another"
        )
    if spec.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=spec.lr)
    if spec.optimizer == "sgd":
        fused = None if parts else True  # on parts torch has no fused step of it
        return torch.optim.SGD(groups, lr=spec.lr, momentum=_momentum(spec), fused=fused)
    return _adamw(groups, spec)


class MuonAndAdamW(torch.optim.Optimizer):
    """Muon for some matrices and AdamW for the rest, as one optimizer with one state.

    matrices: groups of 2-D parameters for Muon. others: groups for AdamW.
    """

    def __init__(
        self, matrices: list[dict[str, Any]], others: list[dict[str, Any]], spec: RunSpec
    ) -> None:
        self.muon = torch.optim.Muon(
            matrices,
            lr=spec.lr,
            momentum=_momentum(spec),
            nesterov=True,
            adjust_lr_fn="match_rms_adamw",
        )
        self.adamw = _adamw(others, spec)
        super().__init__([*self.muon.param_groups, *self.adamw.param_groups], {})
        self._share()

    def _share(self) -> None:
        """Let both parts see the groups and the state that this object holds, and no others."""
        first = len(self.muon.param_groups)
        self.muon.param_groups = self.param_groups[:first]
        self.adamw.param_groups = self.param_groups[first:]
        self.muon.state = self.adamw.state = self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        super().load_state_dict(state_dict)
        self._share()

    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update of every parameter."""
        self.muon.step(closure)  # type: ignore[no-untyped-call]
        self.adamw.step()


def _groups(
    model: nn.Module, weight_decay: float, *, without: list[nn.Parameter] | None = None
) -> list[dict[str, Any]]:
    """Matrices and embeddings, decayed, and then biases and norms, which are not."""
    taken = {id(parameter) for parameter in without or ()}
    left = [p for p in model.parameters() if id(p) not in taken]
    return [
        {"params": [p for p in left if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in left if p.ndim < 2], "weight_decay": 0.0},
    ]


def _adamw(groups: list[dict[str, Any]], spec: RunSpec) -> torch.optim.AdamW:
    betas = (spec.beta1, spec.beta2)
    return torch.optim.AdamW(groups, lr=spec.lr, betas=betas, eps=spec.eps, fused=True)


def _momentum(spec: RunSpec) -> float:
    return MOMENTUM[spec.optimizer] if spec.momentum is None else spec.momentum
