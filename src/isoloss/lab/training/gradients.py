"""The gradients of one batch: computed as they come, or recorded once on a GPU and replayed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any, TypeAlias

import torch
from torch import Tensor

from isoloss.lab.models import LanguageModel
from isoloss.lab.parallel.team import last_part

Gradients: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Adds the gradients of a batch, ids and targets (b, t), to those that the model has; returns the
mean loss, detached, in nats per token."""

Context: TypeAlias = Callable[[], AbstractContextManager[Any]]
"""What a forward pass is made in: autocast or nothing."""

Announce: TypeAlias = Callable[[Tensor], object]

_BEFORE_RECORDING = 3  # passes: libraries choose their kernels in the first ones


def backward(
    model: LanguageModel,
    ids: Tensor,
    targets: Tensor,
    rows: int = 0,
    *,
    context: Context = nullcontext,
    announce: Announce | None = None,
) -> Tensor:
    """Add the gradients of the mean loss of a batch, `rows` sequences at a time, 0 for all at once.

    ids, targets: (b, t). Parts give the loss and the gradients of the whole to rounding.
    announce: is given the ids of each part before its forward pass.
    Returns the loss, detached, in nats per token.
    """
    rows, total = rows or len(ids), torch.zeros((), device=ids.device)
    parts = zip(torch.split(ids, rows), torch.split(targets, rows), strict=True)
    for number, (some_ids, some_targets) in enumerate(parts, start=1):
        last_part(model, number * rows >= len(ids))
        if announce:
            announce(some_ids)
        with context():
            loss = model.loss(some_ids, some_targets)
        if len(some_ids) < len(ids):
            loss = loss * (len(some_ids) / len(ids))
        loss.backward()  # type: ignore[no-untyped-call]
        total = total + loss.detach()
    return total


def plain_gradients(
    model: LanguageModel,
    device: torch.device,
    context: Context,
    rows: int,
    announce: Announce | None = None,
) -> Gradients:
    """Gradients computed as they come, on `device`, `rows` sequences at a time; see `backward`."""

    def add(ids: Tensor, targets: Tensor) -> Tensor:
        ids, targets = (x.to(device, non_blocking=True) for x in (ids, targets))
        return backward(model, ids, targets, rows, context=context, announce=announce)

    return add


@cache
def _beside(device: torch.device) -> torch.cuda.Stream:
    """The stream of recordings: one, for libraries keep a workspace for each they have seen."""
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


def recorded_gradients(
    model: LanguageModel, device: torch.device, context: Context, rows: int
) -> Gradients:
    """The same on a GPU, recorded at the first batch as one CUDA graph and replayed from then on.

    Every batch has the shape of the first. The gradients lie where the recording has put them and
    are written anew each time, not added to.
    """
    graph = torch.cuda.CUDAGraph()
    held: list[Tensor] = []  # inputs, targets and loss, at their fixed places

    def record(ids: Tensor, targets: Tensor) -> None:
        inputs, outputs = ids.to(device), targets.to(device)
        beside = _beside(device)
        beside.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(beside):
            for _ in range(_BEFORE_RECORDING):
                backward(model, inputs, outputs, rows, context=context)
        torch.cuda.current_stream(device).wait_stream(beside)
        model.zero_grad(set_to_none=True)  # so that the recording makes gradients of its own
        with torch.cuda.graph(graph, stream=beside):
            loss = backward(model, inputs, outputs, rows, context=context)
        held[:] = [inputs, outputs, loss]

    grads: dict[torch.nn.Parameter, Tensor | None] = {}

    def replay(ids: Tensor, targets: Tensor) -> Tensor:
        if not held:
            record(ids, targets)
            grads.update({p: p.grad for p in model.parameters()})
        held[0].copy_(ids, non_blocking=True)
        held[1].copy_(targets, non_blocking=True)
        graph.replay()
        for parameter, grad in grads.items():  # an optimizer may have let go of them
            parameter.grad = grad
        return held[2]

    return replay
