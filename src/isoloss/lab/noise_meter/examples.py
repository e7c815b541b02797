"""The gradients of single examples, seen while the ordinary backward pass goes by.

Hooks on linear, embedding and norm layers keep what goes in, and use it with the gradient of what
came out (`layers`). A weight that is used more than once waits until its uses are all there. What a
hook cannot see (a parameter of another kind of layer, or one used outside its layer) is found in
the first part that is measured, where every gradient is held against autograd's own: it is left
out of the small and of the big norms alike, and a warning names it.
"""

from __future__ import annotations

import math
import warnings
from collections import Counter, defaultdict
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from isoloss.errors import InputError
from isoloss.lab.noise_meter.layers import Use, full_gradient, squared_norms, vectors
from isoloss.lab.noise_meter.parameters import NoiseWarning, Parameters, Sums, squared
from isoloss.lab.noise_meter.sharing import watch_gradients

_ALIKE = 0.05  # of a squared norm: how far ours may be from autograd's, which may be of 16 bits
_MOST_LEFT_OUT = 0.5  # of the parameters


class ExampleNorms:
    """Squared norms of the gradients of a part's first `count` examples; hooks until `close`."""

    def __init__(self, model: nn.Module, parameters: Parameters, count: int) -> None:
        self._parameters, self._count = parameters, count
        self._own: dict[nn.Module, dict[str, str]] = {}  # of each layer, field to name
        self._shapes: dict[str, torch.Size] = {}
        for prefix, module in model.named_modules():
            if _is_known(module):
                paths = {
                    own: f"{prefix}.{own}" if prefix else own
                    for own, _ in module.named_parameters(recurse=False)
                }
                names = {own: parameters.name_at(path) for own, path in paths.items()}
                self._own[module] = {own: name for own, name in names.items() if name is not None}
                for own, name in self._own[module].items():
                    self._shapes[name] = getattr(module, own).shape
        owners = Counter(name for names in self._own.values() for name in names.values())
        self._shared = {name for name, count in owners.items() if count > 1}
        self._handles = [module.register_forward_hook(self._enter) for module in self._own]
        self._sequences, self._open = 0, False
        self._norms: dict[str, Tensor] = {}
        self._ours: dict[str, Tensor] = {}
        self._calls: Counter[nn.Module] = Counter()
        self._waiting: dict[str, list[tuple[nn.Module, str, Use]]] = defaultdict(list)
        self._passed_over: dict[str, int] = {}  # names, and the first dimension that was seen
        # Of the first part: autograd's own squared norms, and what undoes their hooks.
        self._theirs: dict[str, Tensor] | None = {}
        self._watching = watch_gradients(model, parameters, lambda name: partial(self._hold, name))

    def begin(self, sequences: int) -> None:
        """A part of so many sequences is about to be computed."""
        self._sequences, self._open = sequences, True
        self._norms = {}
        self._ours = {}
        self._calls.clear()
        self._waiting.clear()
        self._passed_over.clear()

    def finish(self) -> tuple[Sums, int]:
        """Sums of squared norms by group, and of how many examples they are."""
        self._open = False
        for name, uses in self._waiting.items():
            self._measure(name, uses)
        self._waiting.clear()
        if self._theirs is not None:
            self._leave_out_what_is_not_seen()
        elif passed := self._passed_over.keys() - self._parameters.left_out:
            name = min(passed)
            raise InputError(
                f"part() was told of {self._sequences} sequences, and the layer of {name} has seen "
                f"{self._passed_over[name]}; call part() before every forward pass, with its own"
            )
        count = min(self._count, self._sequences)
        sums = self._parameters.sums()
        for name, norms in self._norms.items():
            self._parameters.add(sums, name, norms[:count].sum())
        return sums, count

    def drop(self) -> None:
        """Forget the part that was begun."""
        self._open = False
        self._waiting.clear()

    def close(self) -> None:
        """Take the hooks off the model."""
        for handle in (*self._handles, *self._watching):
            handle.remove()

    def _hold(self, name: str, gradient: Tensor) -> None:
        assert self._theirs is not None
        self._theirs[name] = self._parameters.norm(name, gradient)

    def _enter(self, module: nn.Module, given: tuple[Any, ...], made: Any) -> None:
        if not (self._open and torch.is_grad_enabled()):
            return
        if given and isinstance(made, Tensor) and made.requires_grad:
            self._calls[module] += 1
            hook = partial(self._leave, module, self._kept(given[0].detach()))
            made.register_hook(hook)  # type: ignore[no-untyped-call]

    def _leave(self, module: nn.Module, inputs: Tensor, outputs: Tensor) -> None:
        # Examples come first, then any number of dimensions. Positions, which all examples share,
        # have no such first, and what has been flattened does not say whose it is.
        rows = isinstance(module, nn.Embedding)
        if outputs.ndim < 2 or outputs.shape[0] != self._sequences or (rows and inputs.ndim < 2):
            self._passed_over |= dict.fromkeys(self._own[module].values(), outputs.shape[0])
            return
        e = self._kept(outputs.detach())
        if isinstance(module, nn.Embedding):
            inputs = inputs.long()
            if module.padding_idx is not None:  # its row gets no gradient
                e = e.masked_fill((inputs == module.padding_idx)[..., None], 0.0)
        use = Use(_steps(inputs, outputs.ndim), _steps(e, outputs.ndim))
        for own, name in self._own[module].items():
            if name in self._shared or self._calls[module] > 1 or self._theirs is not None:
                self._waiting[name].append((module, own, use))
            else:
                self._measure(name, [(module, own, use)])

    def _kept(self, x: Tensor) -> Tensor:
        """The examples that are measured, apart from the rest of the batch, which may then go."""
        if self._theirs is not None or len(x) <= self._count:
            return x
        return x[: self._count].clone()

    def _measure(self, name: str, uses: list[tuple[nn.Module, str, Use]]) -> None:
        with torch.autocast(uses[0][2].outputs.device.type, enabled=False):
            self._measure_wide(name, uses)

    def _measure_wide(self, name: str, uses: list[tuple[nn.Module, str, Use]]) -> None:
        linear = [use for m, own, use in uses if isinstance(m, nn.Linear) and own == "weight"]
        rows = [use for m, _, use in uses if isinstance(m, nn.Embedding)]
        if linear or rows:
            self._norms[name] = squared_norms(
                *([use.first(self._count) for use in kind] for kind in (linear, rows))
            )
            whole = partial(full_gradient, linear, rows, self._shapes[name])
        else:
            parts = sum(vectors(module, use, own) for module, own, use in uses)
            assert isinstance(parts, Tensor)
            self._norms[name] = parts[: self._count].square().sum(dim=1)
            whole = partial(parts.sum, dim=0)
        if self._theirs is not None:
            self._ours[name] = squared(whole())

    def _leave_out_what_is_not_seen(self) -> None:
        """Hold the first part's gradients against autograd's, and leave out those that differ."""
        assert self._theirs is not None
        theirs = self._theirs
        if not all(bool(norm.isfinite()) for norm in theirs.values()):
            self._theirs.clear()  # the step does not count; the next part is looked at instead
            return
        self._theirs = None
        for handle in self._watching:
            handle.remove()
        self._watching = []
        for name, norm in theirs.items():
            ours = self._ours.get(name)
            if ours is None or not torch.isclose(ours, norm, rtol=_ALIKE, atol=0.0):
                self._parameters.left_out.add(name)
        missing = self._parameters.left_out
        size = {name: self._parameters.trained[name].numel() for name in theirs}
        part = sum(size[name] for name in missing) / max(1, sum(size.values()))
        if missing:
            names = ", ".join(sorted(missing)[:3]) + (", ..." if len(missing) > 3 else "")
            text = f"gradients by example are not known of {names} ({part:.0%} of the parameters)"
            if part > _MOST_LEFT_OUT:
                raise InputError(
                    f"{text}: tell part() the sequences there are, leave torch.compile out, or use "
                    "several parts, as split() makes them"
                )
            warnings.warn(f"{text}: left out of the noise scale", NoiseWarning, stacklevel=4)


def _is_known(module: nn.Module) -> bool:
    """Whether gradients by example are known of a layer."""
    if isinstance(module, nn.LayerNorm | nn.RMSNorm):
        return len(module.normalized_shape) == 1
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Embedding) and not (module.sparse or module.scale_grad_by_freq)
    )


def _steps(x: Tensor, dimensions: int) -> Tensor:
    """(b, t, size), or (b, t) of ids: all dimensions between the first and the last are one."""
    middle = x.shape[1 : dimensions - 1]
    return x.reshape(x.shape[0], math.prod(middle), *x.shape[dimensions - 1 :])
