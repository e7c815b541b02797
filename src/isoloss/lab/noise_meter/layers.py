"""Gradients of single examples by layer, from what a layer was given and what came back to it.

A linear layer's gradient for one example is sum_t e_t a_t', with a (t, in) its input and e (t, out)
the gradient of its output. Its squared norm is sum_tu (a_t'a_u)(e_t'e_u): of two Gram matrices, in
t^2 (in + out) operations, where the gradient itself would take t in out. The smaller is taken. A
weight used several times has one gradient: all its uses lie end to end along t.
Source: Goodfellow 2015 (arXiv:1510.01799); Li et al. 2022 (arXiv:2110.05679), for sequences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Use:
    """One use of a weight: what went in, and the gradient of what came out; b examples first."""

    inputs: Tensor  # (b, t, in), or (b, t) integers of an embedding
    outputs: Tensor  # (b, t, out)

    def first(self, count: int) -> Use:
        """The use by the first examples alone."""
        return Use(self.inputs[:count], self.outputs[:count])


def squared_norms(linear: Sequence[Use], rows: Sequence[Use]) -> Tensor:
    """(b,) squared norms of the gradient of one weight (out, in) by example.

    linear: its uses as a linear layer's weight; rows: those as an embedding, of its rows.
    """
    result = torch.zeros((), device=(linear or rows)[0].outputs.device)
    if linear:
        a, e = (_joined(linear, name) for name in ("inputs", "outputs"))
        result = result + _linear(a, e)
    if rows:
        ids, e_rows = (_joined(rows, name) for name in ("inputs", "outputs"))
        same = ids[:, :, None] == ids[:, None, :]
        result = result + (_gram(e_rows) * same).sum(dim=(1, 2))
    if linear and rows:  # a head tied to the embedding: <sum e a', sum onehot(id) e_rows'>
        picked = e.gather(2, ids[:, None, :].expand(-1, e.shape[1], -1))  # (b, t, u)
        result = result + 2.0 * (picked * (a @ e_rows.transpose(1, 2))).sum(dim=(1, 2))
    return result


def full_gradient(linear: Sequence[Use], rows: Sequence[Use], shape: torch.Size) -> Tensor:
    """The gradient of the weight over all examples, to be held against autograd's own."""
    found = torch.zeros(shape, device=(linear or rows)[0].outputs.device)
    for use in linear:
        found += use.outputs.float().flatten(0, 1).T @ use.inputs.float().flatten(0, 1)
    for use in rows:
        found.index_add_(0, use.inputs.flatten(), use.outputs.float().flatten(0, 1))
    return found


def vectors(module: nn.Module, use: Use, name: str) -> Tensor:
    """(b, size) gradients by example of a vector: a bias, or a norm's gain."""
    if name == "bias":
        return use.outputs.float().sum(dim=1)
    return (use.outputs.float() * normalised(module, use.inputs.float())).sum(dim=1)


def normalised(module: nn.Module, inputs: Tensor) -> Tensor:
    """What a norm multiplies its gain with."""
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(inputs, module.normalized_shape, eps=module.eps)
    assert isinstance(module, nn.RMSNorm)
    return F.rms_norm(inputs, module.normalized_shape, eps=module.eps)


def _joined(uses: Sequence[Use], name: str) -> Tensor:
    parts = [getattr(use, name) for use in uses]
    whole = parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
    return whole if whole.dtype == torch.long else whole.float()


def _gram(x: Tensor) -> Tensor:
    return x @ x.transpose(1, 2)


def _linear(a: Tensor, e: Tensor) -> Tensor:
    t, wide, out = a.shape[1], a.shape[2], e.shape[2]
    if t * (wide + out) < wide * out:
        return (_gram(a) * _gram(e)).sum(dim=(1, 2))
    return (e.transpose(1, 2) @ a).square().sum(dim=(1, 2))
