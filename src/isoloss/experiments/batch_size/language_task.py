"""Predicting the next byte of text, as something to learn at any batch.

An example is one stretch of the text, drawn from anywhere in it, and its loss is the mean over its
tokens; batches are counted in tokens, of which those of one stretch are not independent draws.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from isoloss.counting import Shape, count_params
from isoloss.errors import InputError
from isoloss.lab.batch_size.task import Examples, Task, drawn_from
from isoloss.lab.models import LanguageModel, make_model
from isoloss.lab.tokens import TokenSet
from isoloss.lab.tokens.arrays import Ids

HELD_OUT = 512
"""Stretches that the held-out loss is the mean of: the same ones for every model."""


def language(tokens: TokenSet, shape: Shape, *, rate: float, rate_batch: int) -> Task:
    """The text of a token set, learnt by the model of a shape with Adam.

    rate: a good one at a batch of `rate_batch` stretches of `n_ctx` tokens. The baseline is the
    cross-entropy of the held-out text under the shares of the tokens in training.
    Raises InputError where the text is too short, or its vocabulary is not the shape's.
    """
    if tokens.vocab != shape.vocab:
        raise InputError(f"the text's vocabulary is {tokens.vocab}: the shape's must be, too")
    if len(tokens.val) < HELD_OUT * shape.n_ctx:
        raise InputError(
            f"{tokens.name!r} holds out {len(tokens.val):,} tokens, and {HELD_OUT * shape.n_ctx:,} "
            "are needed: take a larger corpus"
        )
    held_out = _windows(tokens.val, shape.n_ctx)
    fixed = held_out[torch.linspace(0, len(held_out) - 1, HELD_OUT).long()]

    def losses(model: nn.Module, examples: Examples) -> Tensor:
        assert isinstance(model, LanguageModel)
        ids = examples[0].long()
        each = model.loss(ids[:, :-1], ids[:, 1:], reduction="none")
        return each.view(len(ids), shape.n_ctx).mean(dim=1)

    n = count_params(shape, "non_embedding")
    return Task(
        name=f"{tokens.name}, {n:,} parameters without embeddings",
        unit="tokens",
        model=lambda: make_model(shape),
        stream=drawn_from(_windows(tokens.train, shape.n_ctx)),
        losses=losses,
        held_out=lambda model: float(losses(model, (fixed,)).mean()),
        baseline=_shares_alone(tokens.train, fixed[:, 1:], tokens.vocab),
        trivial="the share of each token",
        rate=rate,
        rate_batch=rate_batch,
        optimizer="adam",
        units=shape.n_ctx,
        data=f"sha256 {tokens.hash[:12]}",
    )


def _windows(ids: Ids, n_ctx: int) -> Tensor:
    """Every stretch of `n_ctx` tokens and the one after them, as rows that overlap in memory."""
    return torch.from_numpy(np.asarray(ids, dtype=np.int32)).unfold(0, n_ctx + 1, 1)


def _shares_alone(train: Ids, held_out: Tensor, vocab: int) -> float:
    """The held-out tokens' cross-entropy under those of training, each counted once more."""
    counts = torch.from_numpy(np.bincount(np.asarray(train), minlength=vocab) + 1)
    return float(-(counts / counts.sum()).log()[held_out.long()].mean())
