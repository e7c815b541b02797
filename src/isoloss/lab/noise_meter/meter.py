"""A meter of the noise scale for any training loop: three calls, no extra backward pass.

    meter = NoiseMeter(model)
    for batch in batches:
        for part in parts(batch):
            meter.part(tokens=part.numel(), sequences=len(part))
            (loss_of(part) / len(parts)).backward()
        meter.step()                      # before clipping, and before an AMP scaler unscales
        ...
    print(meter.read())                   # over the last `window` steps

Two batch sizes are needed, and most loops have them: the parts of a batch in gradient accumulation,
the processes of a team (DDP, FSDP2), or both. The gradient of a part is seen by a hook on each
parameter, before it is added to what is there and before processes average; its squared norm is
one pass over it. The gradient of the whole batch is what lies in `.grad` at `step`.
Where there is one part and one process, `examples` measures the gradients of single sequences
(`examples`), or `split` makes parts of a batch.

Parts of unequal size count as they weigh in the gradient. With weights w_i that sum to one and
sizes b_i, sum w_i |g_i|^2 has the mean |G|^2 + tr(Sigma) sum w_i / b_i, and |sum w_i g_i|^2 has
|G|^2 + tr(Sigma) sum w_i^2 / b_i: so two sizes stand for each step, and `isoloss.noise` does the
rest. Nothing is sent between processes before `read`.
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.noise_meter.examples import ExampleNorms
from isoloss.lab.noise_meter.parameters import ALL, Groups, NoiseWarning, Parameters, Sums
from isoloss.lab.noise_meter.seen import SeenGradients
from isoloss.lab.noise_meter.sharing import gradients_left, team_of, total, watch_gradients
from isoloss.noise import NoiseScale, noise_scale

Weights: TypeAlias = Literal["tokens", "all_tokens", "equal"]


@dataclass(frozen=True)
class Reading:
    """What the meter found over its window.

    scale: of all parameters, in tokens. groups: the same of each group of parameters.
    tokens_per_sequence: divides a noise scale in tokens to give one in sequences, which are what is
    drawn. steps: in the window; those whose gradients were not finite count here and not in
    `scale.steps`.
    """

    scale: NoiseScale
    groups: Mapping[str, NoiseScale]
    tokens_per_sequence: float
    steps: int

    def log(self) -> dict[str, float]:
        """The numbers of all parameters, under the keys that trackers get."""
        return {
            "gns/b_simple": self.scale.b_simple,
            "gns/b_simple_low": self.scale.low,
            "gns/b_simple_high": self.scale.high,
            "gns/g2": self.scale.g2,
            "gns/tr_sigma": self.scale.tr_sigma,
        }


@dataclass
class _Part:
    """One backward pass: its size, and, once it has ended, what was seen of the local gradients.

    sums: of squared norms, by group. seen: whose they are. examples: how many the sums are of,
    where they are of single ones.
    """

    tokens: float
    sequences: float
    sums: Sums = field(default_factory=list)
    seen: list[str] = field(default_factory=list)
    examples: int = 0


@dataclass(frozen=True)
class _Step:
    """One update: squared norms by group, on the device, and the sizes that go with them.

    sizes: sum w / b and sum w^2 / b of this process's parts, its tokens and its sequences.
    """

    small: Tensor
    big: Tensor
    sizes: tuple[float, float, float, float]


class NoiseMeter:
    """Measures the noise scale of a model's gradients while it trains."""

    def __init__(
        self,
        model: nn.Module,
        *,
        examples: int = 0,
        groups: Groups | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        window: int | None = 1_000,
        weights: Weights = "tokens",
        level: float = 0.9,
    ) -> None:
        """Put hooks on a model as it is trained: after DistributedDataParallel or fully_shard.

        examples: sequences of each part whose own gradients are measured, 0 for none; needed where
        there is one part and one process. groups: names for lists of parameters that are measured
        apart too. optimizer: the Adam or AdamW that trains the model, to measure gradients as it
        weighs them, tr(P Sigma) / G'P G (`adam`). window: steps that a reading looks back, None for
        all, which are then kept. weights: how parts weigh in the gradient, by their tokens or
        all alike; processes weigh alike, or, with all_tokens, by theirs too, as where the loss is
        divided by the tokens of the whole batch. level: of the intervals.
        Raises InputError for a model with nothing to train, groups that are not of the model,
        models shared in a way that is not known, and an optimizer that is not Adam, or comes with
        examples or FSDP.
        """
        if window is not None and window < 1:
            raise InputError(f"window is {window}; a reading needs at least one step")
        if weights not in ("tokens", "all_tokens", "equal"):
            raise InputError(f"weights is {weights!r}; use all_tokens, tokens or equal")
        if not isinstance(examples, int) or examples < 0:
            raise InputError(f"examples is {examples}; it is a number of sequences, 0 for none")
        if not (isinstance(level, float) and 0 < level < 1):
            raise InputError(f"level is {level!r}; it is a share between 0 and 1, such as 0.9")
        self._model, self._weights, self._level = model, weights, level
        self._team = team_of(model)
        self._parameters = Parameters(model, groups or {})
        if optimizer is not None:
            if examples:
                raise InputError(
                    "examples measures norms without the gradients that an optimizer would weigh: "
                    "leave one of them out, or make parts with split()"
                )
            self._parameters.weigh_by(optimizer)
        self._steps: deque[_Step] = deque(maxlen=window)
        self._closed = False
        self._checked = False  # whether the hooks have been seen to see every gradient
        self._parts: list[_Part] = []
        self._seen = SeenGradients(self._parameters)
        self._examples = ExampleNorms(model, self._parameters, examples) if examples else None
        hooks = [] if examples else watch_gradients(model, self._parameters, self._seen.hook)
        self._handles = hooks

    def part(
        self, tokens: float, sequences: float = 1, *, documents: Sequence[Any] | None = None
    ) -> None:
        """Say, before a forward and backward pass, what its gradient will be the mean of.

        tokens: that the loss is a mean over. sequences: how many were drawn to have them.
        documents: what each sequence is a chunk of, if that is known: chunks of one document
        resemble each other, and a warning says so.
        """
        self._check_open()
        if not (0 < tokens < math.inf and 0 < sequences < math.inf):
            raise InputError(
                f"a part has {tokens} tokens in {sequences} sequences: both are above 0"
            )
        if documents is not None and (twice := len(documents) - len(set(documents))):
            warnings.warn(
                f"{twice} of {len(documents)} sequences are of a document that is there already: "
                "they are not independent draws, and the noise scale comes out too small",
                NoiseWarning,
                stacklevel=2,
            )
        self._end_part()
        self._parts.append(_Part(float(tokens), float(sequences)))
        if self._examples is None:
            self._seen.begin()
        else:
            self._examples.begin(int(sequences))

    def step(self, *, scale: float = 1.0, unscaled: bool = False) -> None:
        """Take in an update, after its last backward pass and before anything changes `.grad`.

        scale: what the loss was multiplied by, an AMP scaler's `get_scale()`. unscaled: whether its
        `unscale_` has divided `.grad` by that already. Clipping comes after this in any case.
        Before an optimizer that weighs gradients has a state, that is before its own first step,
        nothing is measured.
        Raises InputError for a closed meter, a wrong scale, without a part or a gradient, with no
        smaller batch to compare with, for a part of which no gradient was seen, a gradient that no
        hook has seen or one has seen twice in a part, and a parameter that was frozen when the
        meter was made.
        """
        self._check_open()
        self._end_part()
        parts = self._parts.copy()
        self._parts.clear()
        if not parts:
            raise InputError("step() without part(): call part() before each backward pass")
        if not 0 < scale < math.inf:
            raise InputError(f"scale is {scale}; it is what the loss was multiplied by")
        sequences = sum(part.sequences for part in parts)
        samples = len(parts) if self._examples is None else sequences
        if samples * self._team.size < 2:
            raise InputError(
                "one part in one process, or one sequence, has no smaller batch beside it: use "
                "several parts (`split` makes them), or give NoiseMeter examples=8"
            )
        if self._waits():
            return
        tokens = sum(part.tokens for part in parts)
        small, rate, rate_of_all = self._parameters.sums(), 0.0, 0.0
        for part in parts:
            weight = 1 / len(parts) if self._weights == "equal" else part.tokens / tokens
            factor, of_one = 1 / weight, weight / part.tokens
            if part.examples:  # each weighs weight / sequences in the gradient
                factor *= part.sequences**2 / part.examples
                of_one *= part.sequences
            small = [one + more * factor for one, more in zip(small, part.sums, strict=True)]
            rate += of_one
            rate_of_all += weight**2 / part.tokens
        left = list(gradients_left(self._model, self._parameters))
        if not left:
            raise InputError(
                "no parameter has a gradient: call step() after backward() and before zero_grad()"
            )
        if self._examples is None:
            self._check_seen(parts, left)
        big = self._parameters.sums()
        for name, gradient in left:
            self._parameters.add(big, name, self._parameters.norm(name, gradient))
        once = 1.0 if unscaled else scale
        self._steps.append(
            _Step(
                self._parameters.stack(small) / scale**2,
                self._parameters.stack(big) / once**2,
                (rate, rate_of_all, tokens, sequences),
            )
        )

    def skip(self) -> None:
        """Leave out an update, instead of `step`: a loop's last one that has but one part, say.

        It counts as one whose gradients are not finite, so that processes stay in step.
        """
        self._check_open()
        self._parts.clear()
        self._seen.drop()
        if self._examples is not None:
            self._examples.drop()
        if not self._waits():
            nothing = self._parameters.zeros() * math.nan
            self._steps.append(_Step(nothing, nothing, (1.0, 0.5, 0.0, 0.0)))

    def split(
        self,
        loss_of: Callable[..., Tensor],
        *batch: Tensor,
        parts: int = 2,
        tokens_per_sequence: float = 1,
    ) -> Tensor:
        """Do the forward and backward pass of a batch in parts, for loops that have one.

        loss_of: from the tensors of a part to its mean loss. batch: tensors with sequences first.
        Returns the loss of the whole batch, detached; call `step` next.
        """
        rows = len(batch[0])
        if not 2 <= parts <= rows:
            raise InputError(
                f"a batch of {rows} sequences is split into 2 to {rows} parts, not {parts}"
            )
        losses: list[Tensor] = []
        for piece in zip(*(one.tensor_split(parts) for one in batch), strict=True):
            count = len(piece[0])
            self.part(count * tokens_per_sequence, count)
            weight = 1 / parts if self._weights == "equal" else count / rows
            loss = loss_of(*piece) * weight
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def read(self) -> Reading:
        """The noise scale over the window. Every process of a team calls this and gets the same.

        Raises InputError where nothing was measured yet, or processes measured unlike numbers of
        steps.
        """
        small, big, sizes = self._totals()
        found = {
            name: noise_scale(
                small[:, columns].sum(axis=1),
                big[:, columns].sum(axis=1),
                small=1 / sizes[:, 0],
                big=1 / sizes[:, 1],
                level=self._level,
            )
            for name, columns in self._parameters.columns().items()
        }
        return Reading(
            scale=found.pop(ALL),
            groups=found,
            tokens_per_sequence=float(sizes[:, 2].sum() / sizes[:, 3].sum()),
            steps=len(self._steps),
        )

    def norms(self) -> NDArray[np.float64]:
        """(steps, 4) small and big sizes in tokens, and squared norms of all parameters at them.

        What `read` makes its answer of. Every process of a team calls this; raises as `read`.
        """
        small, big, sizes = self._totals()
        return np.stack([1 / sizes[:, 0], 1 / sizes[:, 1], small.sum(1), big.sum(1)], axis=1)

    def close(self) -> None:
        """Take the hooks off the model."""
        self._closed = True
        for handle in self._handles:
            handle.remove()
        if self._examples is not None:
            self._examples.close()
        self._handles = []
        self._parts.clear()
        self._seen.drop()

    def __enter__(self) -> NoiseMeter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _totals(self) -> tuple[NDArray[np.float64], ...]:
        """Small and big squared norms (steps, groups) and sizes (steps, 4) of all processes."""
        if not self._steps:
            raise InputError("nothing was measured yet: call step() after a backward pass")
        norms = (
            torch.stack([getattr(one, name) for one in self._steps]) for name in ("small", "big")
        )
        small, big = (one.double().cpu() for one in norms)
        sizes = torch.tensor([one.sizes for one in self._steps], dtype=torch.float64)
        return total(self._team, small, big, sizes, by_tokens=self._weights == "all_tokens")

    def _check_seen(self, parts: Sequence[_Part], left: Sequence[tuple[str, Tensor]]) -> None:
        """Raise InputError unless the hooks have seen every gradient, once in each part."""
        for part in parts:
            if not part.seen:
                raise InputError(
                    "no gradient was seen after one of the calls of part(): call it before each "
                    "forward and backward pass, not after"
                )
            if len(set(part.seen)) < len(part.seen):
                twice = next(name for name in part.seen if part.seen.count(name) > 1)
                raise InputError(
                    f"{twice} had two gradients in one part: call part() before each backward "
                    "pass; reentrant checkpoints of a weight used again cannot be measured"
                )
        if self._checked:  # found out once, for looking at a number waits for the device
            return
        self._checked = True
        seen = {name for part in parts for name in part.seen}
        for name, gradient in left:
            if name not in seen and bool(gradient.any()):
                raise InputError(
                    f"{name} has a gradient that the meter has not seen: the model is shared in a "
                    "way that it does not know (tensor parallel), or part() came after the "
                    "backward pass"
                )

    def _check_open(self) -> None:
        if self._closed:
            raise InputError("the meter is closed, and sees nothing: make another")

    def _waits(self) -> bool:
        """Whether the optimizer that weighs gradients has no state yet."""
        return self._parameters.scales is not None and not self._parameters.scales.ready()

    def _end_part(self) -> None:
        """Take in what was seen of the last part, once."""
        if not self._parts or self._parts[-1].sums:
            return
        part = self._parts[-1]
        if self._examples is None:
            part.sums, part.seen = self._seen.end()
        else:
            part.sums, part.examples = self._examples.finish()
