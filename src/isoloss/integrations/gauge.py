"""A noise meter as a trainer's callbacks drive it: told of batches, asked for numbers to log.

A trainer is not to end because of what looks on: updates that cannot be measured (a last one of one
part, a part without targets or backward pass) are left out, and a model that thaws is measured anew
from there. What can never be measured is refused at the first step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from isoloss.errors import InputError
from isoloss.integrations.batches import Count
from isoloss.lab.noise_meter import NoiseMeter, Reading


@dataclass(frozen=True)
class Setting:
    """What a meter is made with, and what to do where it refuses.

    options: of NoiseMeter. count: of a batch. alone: whether one process trains. remedy: what to
    change in this trainer.
    """

    options: dict[str, Any]
    count: Count
    alone: bool
    remedy: str


class Gauge:
    """The meter of one training, from its start to its end."""

    def __init__(self, model: nn.Module, setting: Setting) -> None:
        self._model, self._setting = model, setting
        self._meter: NoiseMeter | None = None
        self._trained: list[bool] = []
        self._measured = False
        self._reset()

    @property
    def begun(self) -> bool:
        """Whether an update has parts that are not taken in yet."""
        return self._parts > 0

    def begin(self, batch: Any) -> None:
        """A part is about to be computed."""
        if not self.begun:
            self._look_at_the_model()
        assert self._meter is not None
        counted = self._setting.count(batch)
        if not (isinstance(counted, tuple) and len(counted) == 2):
            raise InputError(f"count= of a batch gave {counted!r}; it gives (tokens, sequences)")
        tokens, sequences = counted
        self._parts += 1
        self._sequences += sequences
        if tokens == 0:  # no gradient either
            self._whole = False
            return
        with self._with_remedy():
            self._meter.part(tokens, sequences)

    def went_back(self) -> None:
        """The part has its backward pass: a trainer may leave one out."""
        self._backward += 1

    def end(self, *, scale: float = 1.0, unscaled: bool = False) -> None:
        """All parts of an update are there, and nothing has changed their gradient."""
        if not self.begun:
            return
        assert self._meter is not None
        self._measured = True
        samples = self._sequences if self._setting.options["examples"] else self._parts
        comparable = samples >= 2 or not self._setting.alone
        if self._whole and comparable and self._backward == self._parts:
            with self._with_remedy():
                self._meter.step(scale=scale, unscaled=unscaled)
        else:
            self._meter.skip()
        self._reset()

    def read(self) -> Reading:
        """What the meter reads; every process of a team calls this."""
        if self._meter is None:
            raise InputError("nothing was measured yet: train first")
        return self._meter.read()

    def numbers(self) -> dict[str, float]:
        """What is logged: what is infinite is left out, for JSON and charts have no such number."""
        if self._meter is None or not self._measured:
            return {}
        if not np.isfinite(self._meter.norms()).all(axis=1).any():
            return {}  # as while an AMP scaler still finds its scale
        found = self._meter.read().log()
        return {key: value for key, value in found.items() if math.isfinite(value)}

    def close(self) -> None:
        """Take the hooks off the model; `read` goes on giving what was measured."""
        if self._meter is not None:
            self._meter.close()

    def _reset(self) -> None:
        self._parts, self._sequences, self._backward, self._whole = 0, 0.0, 0, True

    def _look_at_the_model(self) -> None:
        """Make the meter, and make it anew where other parameters train than did."""
        trained = [parameter.requires_grad for parameter in self._model.parameters()]
        if trained != self._trained:
            self.close()
            with self._with_remedy():
                self._meter = NoiseMeter(self._model, **self._setting.options)
            self._trained, self._measured = trained, False

    @contextmanager
    def _with_remedy(self) -> Iterator[None]:
        try:
            yield
        except InputError as error:
            raise InputError(f"{error}. In this trainer: {self._setting.remedy}") from error
