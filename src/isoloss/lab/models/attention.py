"""Causal attention in blocks of queries, each against the keys it may see.

Written out, attention is four products of matrices and a softmax. On a CPU torch's fused function
deals out its work in small pieces; done for all sequences and heads at once, a block of queries at
a time, it is the faster for many shapes (`benchmarks/kernels.py`), and `lab.engine` measures for
which. A block leaves out the keys after its last query, so of the full square of weights
(blocks + 1) / (2 blocks) is made; they are kept for the backward pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

BLOCK = 64
"""Queries at once: fewer save more of the square, and cost more calls."""


def blocked_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d_head), keys up to the query's own) v.

    q, k, v: (b, heads, t, d_head), of one size. Returns (b, heads, t, d_head). Differentiable once.
    """
    flat = (x.reshape(-1, *x.shape[2:]) for x in (q, k, v))
    apply: Callable[..., Tensor] = _Blocked.apply
    return apply(*flat).view(q.shape)


class _Blocked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        t, scale = q.shape[1], 1 / math.sqrt(q.shape[2])
        y, later, keys = torch.empty_like(q), _later(t, q.dtype, q.device), k.transpose(1, 2)
        weights = []
        for start in range(0, t, BLOCK):
            end = min(t, start + BLOCK)
            w = torch.baddbmm(later[start:end, :end], q[:, start:end], keys[..., :end], alpha=scale)
            torch._softmax(w, 2, False, out=w)
            y[:, start:end] = torch.bmm(w, v[:, :end])
            weights.append(w)
        ctx.save_for_backward(q, k, v, y, *weights)
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, y, *weights = ctx.saved_tensors
        (g,) = grads
        t, scale = q.shape[1], 1 / math.sqrt(q.shape[2])
        grad_q, grad_k, grad_v = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        # A softmax w gives back w (g_w - sum of g_w w), and that sum is g . y of the query.
        mean, values = (g * y).sum(2, keepdim=True), v.transpose(1, 2)
        for w, start in zip(weights, range(0, t, BLOCK), strict=True):
            end = min(t, start + BLOCK)
            g_here, q_here = g[:, start:end], q[:, start:end]
            grad_v[:, :end].baddbmm_(w.transpose(1, 2), g_here)
            g_w = torch.baddbmm(mean[:, start:end], g_here, values[..., :end], beta=-1)
            g_w.mul_(w)
            grad_k[:, :end].baddbmm_(g_w.transpose(1, 2), q_here)
            grad_q[:, start:end] = torch.bmm(g_w, k[:, :end])
        return grad_q.mul_(scale), grad_k.mul_(scale), grad_v


@cache
def _later(t: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """(t, t): what is added to the weight of a key that comes after its query, minus infinity."""
    return torch.full((t, t), -math.inf, dtype=dtype, device=device).triu(1)
