"""What hooks see of the local gradients of a part, while its backward pass goes by."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import torch
from torch import Tensor

from isoloss.lab.noise_meter.parameters import Parameters, Sums


class SeenGradients:
    """Sums of squared norms by group, of the gradients between `begin` and `end`.

    They are added up as they come: a norm kept for each parameter would lie between the gradients
    in memory, and cost a step more than to compute it. And between two matrix products any call of
    torch is a cold one, and costs more than the norm of a vector: so vectors wait for the next
    matrix, whose call makes theirs a warm one.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._sums: Sums | None = None  # none where nothing is measured
        self._names: list[str] = []
        self._waiting: deque[tuple[str, Tensor]] = deque()

    def begin(self) -> None:
        """From now on, gradients count."""
        self._sums = self._parameters.sums()
        self._names, self._waiting = [], deque()

    def end(self) -> tuple[Sums, list[str]]:
        """The sums since `begin`, and whose gradients they are of, a name for each."""
        sums, self._sums = self._sums or self._parameters.sums(), None
        self._add_up(sums)
        return sums, self._names

    def hook(self, name: str) -> Callable[[Tensor], None]:
        """What is to see the gradients of a parameter."""
        is_vector = self._parameters.trained[name].ndim == 1

        def see(gradient: Tensor) -> None:
            sums = self._sums
            if sums is None:  # a backward pass that nobody announced is not measured
                return
            self._names.append(name)
            self._waiting.append((name, gradient))
            if not is_vector:
                self._add_up(sums)

        return see

    def _add_up(self, sums: Sums) -> None:
        """Add what waits; the usual case is written out, for calls of functions are cold, too."""
        waiting, parameters = self._waiting, self._parameters
        plain = parameters.scales is None
        while waiting:
            try:
                name, gradient = waiting.pop()
            except IndexError:  # another device's thread has taken it
                return
            usual = plain and gradient.is_cpu and gradient.dtype is torch.float32
            if usual and not (gradient.is_sparse or gradient.requires_grad):
                flat = gradient if gradient.ndim == 1 else gradient.flatten()
                norm = torch.dot(flat, flat).item()
                sums[parameters.index(name)] += norm
            else:
                parameters.add(sums, name, parameters.norm(name, gradient))
