"""Something to learn, whatever its data, and one model as it learns it.

Studies of the batch size need the same few things of images, text and games: a model, independent
examples, the loss of each of them, and a held-out loss that falls. A `Task` gives these, and a
`Learner` is a model of it that takes steps at any batch and rate, and can be branched.
"""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from isoloss.errors import InputError

Examples: TypeAlias = tuple[Tensor, ...]
"""Tensors with examples first, all of one length."""

Draw: TypeAlias = Callable[[int], Examples]
"""Draws so many examples, independent of each other and of those before."""

OptimizerName: TypeAlias = Literal["sgd", "adam"]

_MOST_AT_ONCE = 512  # examples of one forward pass, so that a large batch fits


@dataclass(frozen=True)
class Task:
    """What a study of the batch size needs to know.

    name: for tables. unit: what batches are counted in (images, tokens, frames), of which every
    example, that is every independent draw, holds `units`.
    model: a new one, from torch's seed. stream: from a model and a seed to a `Draw`; the model is
    there for tasks whose examples depend on it, as those of a policy do.
    losses: (examples,) from a model and what was drawn; a batch's gradient is that of their mean.
    held_out: the loss that targets are named in; positive, and without gradients.
    baseline: the held-out loss of `trivial`, an answer that needs no learning.
    optimizer: plain SGD, or Adam. rate: a good one for it at a batch of `rate_batch` examples.
    data: which data they are, by hash (`hash_of`) or version; runs on others are another study's.
    """

    name: str
    unit: str
    model: Callable[[], nn.Module]
    stream: Callable[[nn.Module, int], Draw]
    losses: Callable[[nn.Module, Examples], Tensor]
    held_out: Callable[[nn.Module], float]
    baseline: float
    trivial: str
    rate: float
    rate_batch: int
    optimizer: OptimizerName = "sgd"
    units: int = 1
    betas: tuple[float, float] = (0.9, 0.95)
    data: str = ""


def drawn_from(*data: Tensor) -> Callable[[nn.Module, int], Draw]:
    """A stream that draws rows of `data`, with replacement, whatever the model.

    So batches of any size are independent of each other, and no epoch ends within one.
    """

    def stream(_: nn.Module, seed: int) -> Draw:
        random = torch.Generator().manual_seed(seed)

        def draw(count: int) -> Examples:
            rows = torch.randint(len(data[0]), (count,), generator=random)
            return tuple(one[rows] for one in data)

        return draw

    return stream


def hash_of(*data: Tensor) -> str:
    """Twelve digits of the SHA-256 of tensors' types, shapes and content."""
    found = hashlib.sha256()
    for one in data:
        found.update(f"{one.dtype} {tuple(one.shape)} ".encode())
        found.update(one.contiguous().numpy().tobytes())
    return f"sha256 {found.hexdigest()[:12]}"


class Learner:
    """A model of a task as it learns. `steps` is the number of updates, `seen` that of examples."""

    def __init__(self, task: Task, *, seed: int) -> None:
        """Make the model from `seed`, which its examples are drawn by too."""
        torch.manual_seed(seed)
        self.task = task
        self.model = task.model()
        self.optimizer = _optimizer(task, self.model)
        self._draw = task.stream(self.model, seed)
        self.steps = self.seen = 0

    def branch(self, seed: int) -> Learner:
        """A copy that goes on from here with other examples; this one stays as it is."""
        other = copy.copy(self)
        other.model = copy.deepcopy(self.model)
        other.optimizer = _optimizer(self.task, other.model)
        other.optimizer.load_state_dict(copy.deepcopy(self.optimizer.state_dict()))
        other._draw = self.task.stream(other.model, seed)
        return other

    def update(self, batch: int, rate: float) -> float:
        """Take one step on `batch` new examples at this rate; their mean loss before it."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        loss = self.add_gradients(self.draw(batch))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        self.seen += batch
        return loss

    def draw(self, count: int) -> Examples:
        """New examples, which are not counted as seen."""
        return self._draw(count)

    def add_gradients(self, examples: Examples) -> float:
        """Add the gradient of the mean loss of `examples` to `.grad`; that loss."""
        count, total = len(examples[0]), 0.0
        for piece in pieces(examples):
            loss = self.task.losses(self.model, piece).sum() / count
            loss.backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach())
        return total

    def gradient(self, examples: Examples) -> tuple[Tensor, ...]:
        """The gradient of the mean loss of `examples`, parameter by parameter."""
        self.model.zero_grad(set_to_none=True)
        self.add_gradients(examples)
        found = tuple(
            torch.zeros_like(one) if one.grad is None else one.grad
            for one in self.model.parameters()
        )
        self.model.zero_grad(set_to_none=True)
        return found

    def held_out(self) -> float:
        """The held-out loss now; not a number where it is not finite."""
        self.model.eval()
        with torch.no_grad():
            loss = self.task.held_out(self.model)
        self.model.train()
        return loss if math.isfinite(loss) else math.nan


def ramp(steps: int, warmup: int) -> float:
    """The share of its rate that a step has, after `steps` others: linear over the warm-up."""
    return min(1.0, (steps + 1) / max(1, warmup))


def pieces(examples: Examples) -> Iterator[Examples]:
    """The examples in parts that fit one forward pass."""
    parts = (torch.split(one, _MOST_AT_ONCE) for one in examples)
    return zip(*parts, strict=True)


def _optimizer(task: Task, model: nn.Module) -> torch.optim.Optimizer:
    if task.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), lr=task.rate)
    if task.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=task.rate, betas=task.betas, fused=True)
    raise InputError(f"optimizer is {task.optimizer!r}; use sgd or adam")
