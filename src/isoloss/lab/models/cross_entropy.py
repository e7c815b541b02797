"""The head and the cross-entropy in one, a part of the batch at a time, never all of its logits.

The gradient of the loss with respect to a row of logits is softmax - onehot, so it is ready when
the loss is: the logits of a part become their own gradient in place, are multiplied out and let go.
Memory is that of one part whatever the vocabulary, and no pass over the logits is made twice.

A part is what stays in a core's cache, and never fewer rows than the weight has columns, for each
part adds to the gradient of the whole weight. So its logits are at most as large as the weight, or
2 MB. `benchmarks/kernels.py` holds it beside torch's two functions in a row, and beside torch's own
`linear_cross_entropy`, which does the same more slowly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_LOGITS = {"cpu": 1 << 19}  # of one part: what stays in a core's cache
_MANY_LOGITS = 1 << 27  # of one part elsewhere


def linear_cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """The mean over rows i of logsumexp_v z_iv - z_iy, in nats, with logits z = hidden weight^T.

    hidden: (n, d). weight: (vocab, d). targets: (n,) integers below vocab. Differentiable once;
    products are made at the precision of hidden, or of autocast, and the softmax in 32 bits.
    """
    kind = hidden.device.type
    if torch.is_autocast_enabled(kind):
        hidden = hidden.to(torch.get_autocast_dtype(kind))
    apply: Callable[..., Tensor] = _LinearCrossEntropy.apply
    return apply(hidden, weight, targets)


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        n = len(hidden)
        narrow = weight.to(hidden.dtype)
        rows = max(_LOGITS.get(hidden.device.type, _MANY_LOGITS) // len(weight), hidden.shape[1])
        grad_hidden = torch.empty_like(hidden)
        grad_weight = torch.zeros_like(weight)
        total = torch.zeros((), device=hidden.device)
        for start in range(0, n, rows):
            some, right = hidden[start : start + rows], targets[start : start + rows, None]
            z = (some @ narrow.t()).float()
            # The largest logit and its probability give the log of the sum without another pass.
            total += (z.amax(1) - z.gather(1, right)[:, 0]).sum()
            torch._softmax(z, 1, False, out=z)
            total -= z.amax(1).log_().sum()
            z.scatter_add_(1, right, z.new_full((1, 1), -1.0).expand_as(right))
            z = z.to(hidden.dtype)
            torch.mm(z, narrow, out=grad_hidden[start : start + rows])
            if hidden.dtype == weight.dtype:
                grad_weight.addmm_(z.t(), some)
            else:
                grad_weight += z.t() @ some
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.n = n
        return total / n

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor, Tensor, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0] / ctx.n
        return grad_hidden.mul_(scale), grad_weight.mul_(scale), None
