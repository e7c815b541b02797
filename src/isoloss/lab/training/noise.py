"""The gradient noise scale along a run: squared norms at some of its steps, into its record.

Where a batch is made of several parts, or by several processes, their gradients pass by on the way
to the whole, and `NoiseMeter` sees them: nothing is computed but norms. Where there is one part in
one process, or where hooks see nothing (in a recorded CUDA graph, or compiled), the gradients of
some sequences of the batch are computed once more, each alone, and taken nowhere. Either way
nothing of the run is changed, nor a bit of its losses.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import torch
from torch import Tensor

from isoloss.lab.engine import Engine
from isoloss.lab.models import LanguageModel
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.lab.noise_meter.parameters import squared
from isoloss.lab.parallel.team import Team
from isoloss.lab.training.checkpoint import State
from isoloss.lab.training.gradients import Gradients, plain_gradients
from isoloss.runs import RecordWriter, RunSpec

_ALONE = 4  # sequences of a batch whose gradients are computed once more


class NoiseLines:
    """Computes the gradients of a run's batches, and measures at every so many steps."""

    def __init__(
        self,
        model: LanguageModel,
        add: Gradients,
        every: int,
        spec: RunSpec,
        engine: Engine,
        team: Team,
    ) -> None:
        """model: as the team trains it. add: computes gradients. every: steps, 0 for never."""
        self._model, self._add, self._every = model, add, every
        self._spec, self._engine = spec, engine
        self._norms: tuple[float, float, float, float] | None = None
        self._meter: NoiseMeter | None = None
        eager = not (engine.graph is True or engine.compiled is True)
        in_parts = 0 < spec.micro_batch < spec.batch
        self._by_parts = team.size > 1 or (eager and in_parts)
        rows = spec.micro_batch // spec.shape.n_ctx
        self._watched = plain_gradients(model, engine.where, engine.autocast, rows, self._announce)

    def __call__(self, ids: Tensor, targets: Tensor, state: State) -> Tensor:
        """Add the gradients of the update after `state`, and measure them where it is time to."""
        if not self._every or (state.step + 1) % self._every:
            return self._add(ids, targets)
        if self._by_parts:
            return self._from_parts(ids, targets)
        loss = self._add(ids, targets)
        self._from_some_alone(ids, targets, state)
        return loss

    def write(self, writer: RecordWriter, state: State) -> None:
        """Write what was measured of the update that `state` now counts, if anything was."""
        if self._norms is None:
            return
        small, big, sq_small, sq_big = self._norms
        self._norms = None
        tokens = state.step * self._spec.batch
        writer.noise(state.step, tokens, small=small, big=big, sq_small=sq_small, sq_big=sq_big)

    def _from_parts(self, ids: Tensor, targets: Tensor) -> Tensor:
        # Made anew each time: hooks would cost something at the steps between, too.
        with NoiseMeter(self._model, window=1) as self._meter:
            loss = self._watched(ids, targets)
            self._meter.step()
            small, big, sq_small, sq_big = self._meter.norms()[0].tolist()
        # Sizes come back from sums of their inverses, and nearly all are whole.
        self._norms = round(small, 6), round(big, 6), sq_small, sq_big
        return loss

    def _announce(self, ids: Tensor) -> None:
        assert self._meter is not None
        self._meter.part(ids.numel(), len(ids))

    def _from_some_alone(self, ids: Tensor, targets: Tensor, state: State) -> None:
        model, spec = self._model, self._spec
        parameters = [one for one in model.parameters() if one.requires_grad]
        sq_big = _squared([one.grad for one in parameters])
        started = time.perf_counter()
        ids, targets = (x[:_ALONE].to(self._engine.where) for x in (ids, targets))
        compiled, model.compiled_loss = model.compiled_loss, None
        alone: list[float] = []
        try:
            for one, its_targets in zip(*(torch.split(x, 1) for x in (ids, targets)), strict=True):
                with self._engine.autocast():
                    loss = model.loss(one, its_targets)
                alone.append(_squared(torch.autograd.grad(loss, parameters, allow_unused=True)))
        finally:
            model.compiled_loss = compiled
        state.eval_seconds += time.perf_counter() - started
        sq_small = sum(alone) / len(alone)
        self._norms = spec.shape.n_ctx, spec.batch, sq_small, sq_big


def _squared(gradients: Iterable[Tensor | None]) -> float:
    """The squared norm of several gradients together."""
    norms = [squared(one) for one in gradients if one is not None]
    return float(torch.stack(norms).double().sum())
