"""What training and evaluation ask of a model: logits, and a loss."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from isoloss.counting import Shape
from isoloss.lab.models.cross_entropy import linear_cross_entropy


class LanguageModel(nn.Module):
    """A model that predicts the next token: `hidden` is its own, head and loss are every model's.

    shape: what it was built from; dropout: the part of the numbers it drops in training.
    compiled_loss: `composed_loss` as it is computed in training, where that is compiled.
    """

    head: nn.Linear
    compiled_loss: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(self, shape: Shape, dropout: float) -> None:
        super().__init__()
        self.shape, self.dropout = shape, dropout

    def hidden(self, ids: Tensor) -> Tensor:
        """What the head sees at each position: ids (b, t) integers -> (b, t, d_model)."""
        raise NotImplementedError

    def forward(self, ids: Tensor) -> Tensor:
        """Logits for the token after each position: ids (b, t) integers -> (b, t, vocab)."""
        return cast(Tensor, self.head(self.hidden(ids)))

    def loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """Cross-entropy in nats of `targets` (b, t): the mean, or with "none" one per token.

        A mean with gradients is computed without all logits at once, and differentiable once.
        """
        if reduction == "mean" and torch.is_grad_enabled():
            if self.training and self.compiled_loss is not None:
                return self.compiled_loss(ids, targets)
            flat = self.hidden(ids).flatten(0, 1)
            return linear_cross_entropy(flat, self.head.weight, targets.flatten())
        return self.composed_loss(ids, targets, reduction)

    def composed_loss(self, ids: Tensor, targets: Tensor, reduction: str = "mean") -> Tensor:
        """The same by torch's own functions, which a compiler can make one; all logits at once."""
        logits = self(ids).flatten(0, 1).float()
        return F.cross_entropy(logits, targets.flatten(), reduction=reduction)


def drop(x: Tensor, part: float, training: bool) -> Tensor:
    """Dropout of x in training; x itself where no part of it is dropped."""
    return F.dropout(x, part, training) if part else x
