"""Width scaling: one learning rate for every width; `coordinates` checks that it is one.

In the standard parametrization an update of Adam changes what a wide layer gives more than what a
narrow one does, so that the best rate falls with the width. The maximal update parametrization
(muP) scales initial weights, rates and the head so that every activation moves as much at each
width: a rate tuned at `base_width` holds at any other. With m = base_width / d_model, and against
the standard initial weights, which are the same at m = 1:

    what                        initial weight    rate      weight decay
    embeddings, head            / sqrt(m)         1         1
    matrices inside             1                 m         1 / m
    norm before the head        m                 m         0
    other norms, all biases     1                 1         0

A matrix inside starts at a standard deviation in 1 / sqrt(d_model) either way. The head's factor m
is in the norm before it: a gain that starts at m times one and moves by m times the rate is a
factor of m, under Adam, and serves a tied head too. The decay of a matrix is divided so that its
product with the rate, what a step shrinks by, is the same at each width.

Source: Yang et al. 2022 (Tensor Programs V, arXiv:2203.03466), table 8. Left out: heads that grow
(give wide models more heads of one size; growing heads would need attention over their size, not
its root), Adam's eps, SGD, and anything about depth, batch or tokens.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from isoloss.runs import RunSpec

_BEFORE_HEAD = ("norm.weight", "norm.bias")


@torch.no_grad()
def parametrize(model: nn.Module, spec: RunSpec) -> None:
    """Scale the initial weights of a fresh model as `spec.parametrization` asks."""
    if spec.parametrization == "standard":
        return
    m = spec.base_width / spec.shape.d_model
    inside = {id(parameter) for parameter in matrices_inside(model)}
    for name, parameter in model.named_parameters():
        if name in _BEFORE_HEAD:
            parameter.mul_(m)
        elif parameter.ndim == 2 and id(parameter) not in inside:
            parameter.div_(math.sqrt(m))


def mup_groups(model: nn.Module, spec: RunSpec, weight_decay: float) -> list[dict[str, Any]]:
    """The groups of parameters of a muP model, each with the scale of its rate, `rate_scale`."""
    m = spec.base_width / spec.shape.d_model
    named, matrices = dict(model.named_parameters()), matrices_inside(model)
    inside = {id(parameter) for parameter in matrices}
    before = [p for name, p in named.items() if name in _BEFORE_HEAD]
    ends = [p for p in named.values() if p.ndim >= 2 and id(p) not in inside]
    others = [p for name, p in named.items() if p.ndim < 2 and name not in _BEFORE_HEAD]
    return [
        {"params": ends, "weight_decay": weight_decay, "rate_scale": 1.0},
        {"params": matrices, "weight_decay": weight_decay / m, "rate_scale": m},
        {"params": before, "weight_decay": 0.0, "rate_scale": m},
        {"params": others, "weight_decay": 0.0, "rate_scale": 1.0},
    ]


def matrices_inside(model: nn.Module) -> list[nn.Parameter]:
    """The matrices between the embeddings and the head."""
    ends = {
        id(parameter)
        for name, module in model.named_modules()
        if isinstance(module, nn.Embedding) or name == "head"
        for parameter in module.parameters(recurse=False)
    }
    return [p for p in model.parameters() if p.ndim == 2 and id(p) not in ends]
