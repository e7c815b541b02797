"""Which parameters are measured, under which names, and the sums of their squared norms."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeAlias

import torch
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.noise_meter.adam import AdamScales

ALL = "all"
"""The name of all parameters together."""

Groups: TypeAlias = Mapping[str, Iterable[nn.Parameter]]

Sums: TypeAlias = "list[float | Tensor]"
"""A number for each group; a tensor where a device would have to be waited for."""


class NoiseWarning(UserWarning):
    """Something that makes a noise scale worth less than it looks."""


class Parameters:
    """The trained parameters of a model, each once, in named groups; those in none are a last one.

    A parameter that several modules share has one name, the first.
    """

    def __init__(self, model: nn.Module, groups: Groups) -> None:
        self._names: dict[int, str] = {}
        self._paths: dict[str, str] = {}
        self.trained: dict[str, nn.Parameter] = {}
        for path, parameter in model.named_parameters(remove_duplicate=False):
            if parameter.requires_grad:
                name = self._names.setdefault(id(parameter), path)
                self._paths[path] = name
                self.trained[name] = parameter
        if not self._names:
            raise InputError("no parameter of the model is to be trained; there is no gradient")
        self.device = next(model.parameters()).device
        if ALL in groups:
            raise InputError(f"a group is called {ALL!r}, which all parameters are; rename it")
        self.groups = list(groups)
        self._index = dict.fromkeys(self.trained, len(self.groups))
        for number, (group, members) in enumerate(groups.items()):
            own = list(members)
            if not own:
                raise InputError(
                    f"group {group!r} is empty; give a list, for parameters() can be gone through "
                    "but once"
                )
            for member in own:
                found = self._names.get(id(member))
                if found is None:
                    raise InputError(
                        f"group {group!r} has a parameter that the model does not train"
                    )
                if self._index[found] != len(self.groups):
                    raise InputError(f"{found} is in two groups; put it into one")
                self._index[found] = number
        self.left_out: set[str] = set()
        self.scales: AdamScales | None = None

    def weigh_by(self, optimizer: torch.optim.Optimizer) -> None:
        """Have squared norms weighed as Adam weighs gradients (`adam`)."""
        self.scales = AdamScales(optimizer, self.trained)

    def norm(self, name: str, gradient: Tensor) -> Tensor:
        """The squared norm g'g of a parameter's gradient, or g'P g where Adam weighs it."""
        if self.scales is None:
            return squared(gradient)
        weighed: Tensor = (gradient.detach().float().square() * self.scales[name]).sum()
        return weighed

    def name_at(self, path: str) -> str | None:
        """The one name of the parameter at a path of modules, None where it is not trained."""
        return self._paths.get(path)

    def name_of(self, parameter: nn.Parameter) -> str | None:
        """The name of a parameter, None for one that was not trained when the meter was made."""
        return self._names.get(id(parameter))

    def sums(self) -> Sums:
        """Sums of squared norms by group, of nothing yet."""
        return [0.0] * (len(self.groups) + 1)

    def add(self, sums: Sums, name: str, norm: Tensor) -> None:
        """Add a parameter's squared norm to the sum of its group, unless it is left out."""
        if name not in self.left_out:
            told = norm.item() if norm.is_cpu else norm
            sums[self._index[name]] += told

    def index(self, name: str) -> int:
        """The place of a parameter's group in `Sums`."""
        return self._index[name]

    def zeros(self) -> Tensor:
        """(groups + 1,) zeros, on the device, in 32 bits."""
        return torch.zeros(len(self.groups) + 1, device=self.device)

    def stack(self, sums: Sums) -> Tensor:
        """(groups + 1,) such sums, on the device, in 32 bits."""
        found = self.zeros()
        for group, one in enumerate(sums):
            found[group] = one
        return found

    def columns(self) -> dict[str, slice | list[int]]:
        """The columns of such sums that make up each group, and all."""
        return {ALL: slice(None), **{name: [k] for k, name in enumerate(self.groups)}}


def squared(gradient: Tensor) -> Tensor:
    """The squared norm of a gradient, on its device, added up in 32 bits or more."""
    if gradient.requires_grad:  # of a backward pass that makes a graph
        gradient = gradient.detach()
    if gradient.is_sparse:
        gradient = gradient.coalesce().values()
    if gradient.is_complex():
        gradient = torch.view_as_real(gradient)
    if gradient.dtype in (
        torch.float32,
        torch.float64,
    ):  # one call where the other way takes two, and a copy
        flat = gradient if gradient.ndim == 1 else gradient.flatten()
        return torch.dot(flat, flat)
    norm: Tensor = torch.linalg.vector_norm(gradient, dtype=torch.float32)
    return norm.square()
