"""The coordinate check: whether activations move as much in a wide model as in a narrow one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.models import Transformer
from isoloss.lab.training.optim import make_optimizer, set_rate
from isoloss.lab.training.width import parametrize
from isoloss.runs import RunSpec


@dataclass(frozen=True, eq=False)
class Coordinates:
    """How large activations are at each width, after every step.

    widths: (w,) d_model. names: of what was measured, each block's output and the logits.
    sizes: (names, w, steps + 1), root mean squares of the activations. changes: likewise, of what
    they have changed by since the start.
    """

    widths: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: NDArray[np.float64]
    changes: NDArray[np.float64]

    def slopes(self) -> dict[str, float]:
        """The power of the width that each change follows after the last step: 0 is none."""
        x = np.log(self.widths)
        return {
            name: float(np.polyfit(x, np.log(change[:, -1]), 1)[0])
            for name, change in zip(self.names, self.changes, strict=True)
        }


def coordinate_check(
    spec: RunSpec, shapes: Sequence[Shape], *, steps: int = 5, seeds: int = 3
) -> Coordinates:
    """Train models of several widths for a few steps, and measure how their activations move.

    spec: optimizer, rate, batch and parametrization. shapes: transformers that differ in width
    alone, with heads of one size. steps: on one batch of random tokens, at the peak rate. seeds:
    models at each width, over which squares are averaged.
    Returns Coordinates: under muP the slopes are about 0, in the standard parametrization not.
    Raises InputError for fewer than two widths, or one given twice.
    Source: Yang et al. 2022 (Tensor Programs V), appendix D.1.
    """
    widths = [shape.d_model for shape in shapes]
    if len(widths) < 2 or len(set(widths)) < len(widths):
        raise InputError(f"the widths are {widths}: give two or more, each once")
    names: tuple[str, ...] = ()
    sizes, changes = [], []
    for shape in shapes:
        seen = [_activations(replace(spec, shape=shape), steps, seed) for seed in range(seeds)]
        names = tuple(seen[0][0])
        for name in names:
            runs = [[after[name] for after in run] for run in seen]
            sizes.append(_rms(runs))
            changes.append(_rms([[after - run[0] for after in run] for run in runs]))
    found = (
        np.reshape(each, (len(widths), len(names), steps + 1)).transpose(1, 0, 2)
        for each in (sizes, changes)
    )
    return Coordinates(np.array(widths), names, *found)


def _activations(spec: RunSpec, steps: int, seed: int) -> list[dict[str, Tensor]]:
    """Each activation by name, before the first step and after every one."""
    shape = spec.shape
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(shape.vocab, (spec.batch // shape.n_ctx, shape.n_ctx + 1), generator=draw)
    torch.manual_seed(seed)
    model = Transformer(shape)
    parametrize(model, spec)
    optimizer = make_optimizer(model, spec)
    set_rate(optimizer, spec.lr)
    found = [_look(model, ids[:, :-1])]
    for _ in range(steps):
        model.loss(ids[:, :-1], ids[:, 1:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        found.append(_look(model, ids[:, :-1]))
    return found


@torch.no_grad()
def _look(model: Transformer, ids: Tensor) -> dict[str, Tensor]:
    """The output of every block, and the logits."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> None:
        def hook(module: nn.Module, given: object, out: Tensor) -> None:
            seen[name] = out.detach().clone()

        hooks.append(model.blocks[int(name.split()[1])].register_forward_hook(hook))

    hooks: list[torch.utils.hooks.RemovableHandle] = []
    for index in range(len(model.blocks)):
        keep(f"block {index}")
    logits = model(ids)
    for each in hooks:
        each.remove()
    return {**seen, "logits": logits}


def _rms(runs: list[list[Tensor]]) -> list[float]:
    """Root mean squares after each step, over everything and all runs."""
    return [
        float(torch.stack([x.square().mean() for x in step]).mean().sqrt())
        for step in zip(*runs, strict=True)
    ]
