"""What hooks see of the local gradients of a part, while its backward pass goes by."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from isoloss.lab.noise_meter.parameters import Parameters, Sums

_SMALL = 65_536  # numbers: gradients of vectors that are longer do not wait


class SeenGradients:
    """Sums of squared norms by group, of the gradients between `begin` and `end`.

    Between two matrix products a call of torch is a cold one, and costs more than the norm of a
    short vector: so those wait for the next matrix, whose call makes theirs warm ones. Norms
    themselves are not kept: one for each parameter, between the gradients in memory, costs a step
    more than to compute it.
    """

    def __init__(self, parameters: Parameters) -> None:
        self._parameters = parameters
        self._sums: Sums | None = None  # none where nothing is measured
        self._names: list[str] = []
        # Whose norms are not in the sums yet, their groups and gradients. What is held here
        # autograd does not take for `.grad`, but copies: nothing changes it meanwhile.
        self._waiting: list[tuple[str, int, Tensor]] = []

    def begin(self) -> None:
        """From now on, gradients count."""
        self.drop()
        self._sums = self._parameters.sums()

    def end(self) -> tuple[Sums, list[str]]:
        """The sums since `begin`, and whose gradients they are of, a name for each."""
        sums, names = self._sums, self._names
        assert sums is not None
        self._add_up(sums)
        self.drop()
        return sums, names

    def drop(self) -> None:
        """Forget what was seen; nothing counts until the next `begin`."""
        self._sums, self._names, self._waiting = None, [], []

    def hook(self, name: str) -> Callable[[Tensor], None]:
        """What is to see the gradients of a parameter."""
        parameter, group = self._parameters.trained[name], self._parameters.index(name)
        waits = parameter.ndim <= 1 and parameter.numel() <= _SMALL

        def see(gradient: Tensor) -> None:
            sums = self._sums
            if sums is None:  # a backward pass that nobody announced is not measured
                return
            self._names.append(name)
            self._waiting.append((name, group, gradient))
            if not waits:
                self._add_up(sums)

        return see

    def _add_up(self, sums: Sums) -> None:
        """Add what waits, last come first: then the vectors' calls are warm.

        The usual case is written out, for a call of a function of ours is cold, too.
        """
        waiting, parameters = self._waiting, self._parameters
        plain = parameters.scales is None
        while True:
            try:
                name, group, gradient = waiting.pop()
            except IndexError:  # or another device's thread has taken it
                return
            usual = plain and gradient.is_cpu and gradient.dtype is torch.float32
            if usual and not (gradient.is_sparse or gradient.requires_grad):
                flat = gradient if gradient.ndim == 1 else gradient.flatten()
                norm = torch.dot(flat, flat).item()
                sums[group] += norm  # not in one line: another thread may add meanwhile
            else:
                parameters.add(sums, name, parameters.norm(name, gradient))
