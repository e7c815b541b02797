"""The held-out loss: on the same tokens for every run, with its standard error over documents.

Spans of 1,024 tokens are taken evenly from the whole validation text and cut into contexts of the
model's length, so that models of every shape predict the same tokens. A short block serves the
learning curve, a long one the final loss. A run that may stop early has each on its own half of the
documents.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from isoloss.errors import InputError
from isoloss.lab.models import LanguageModel
from isoloss.lab.tokens import TokenSet

SPAN = 1024
TOKENS_PER_PASS = 8192
MIN_TOKENS = 2 * SPAN


@dataclass(frozen=True)
class HeldOut:
    """Held-out contexts: ids and targets (windows, n_ctx), and each target's document number."""

    ids: torch.Tensor
    targets: torch.Tensor
    documents: NDArray[np.int64]

    @property
    def tokens(self) -> int:
        return self.ids.numel()


@dataclass(frozen=True)
class HeldOutLoss:
    """A loss in nats per token, its standard error over documents, and what it was measured on."""

    loss: float
    se: float
    tokens: int
    documents: int


def held_out(
    tokens: TokenSet, n_ctx: int, n_tokens: int, *, half: Literal[0, 1] | None = None
) -> HeldOut:
    """Take about `n_tokens` held-out tokens, the same whatever the model.

    n_ctx: context length; tokens are the same for every n_ctx that divides 1,024 and within one
    context of it otherwise. Where the validation text is shorter, all of it is taken.
    half: one of the two that `halves` makes of the documents, end to end; None for all the text.
    Raises InputError if the text to take from has fewer than 2,048 tokens.
    """
    edges = np.asarray(tokens.val_documents)
    chosen = np.arange(len(edges) - 1) if half is None else halves(edges)[half]
    starts = np.concatenate([[0], np.cumsum(np.diff(edges)[chosen])])  # of each, end to end
    length = int(starts[-1])
    span = math.ceil(SPAN / n_ctx) * n_ctx
    available = (length - 1) // span
    if length <= max(MIN_TOKENS, span):
        part = "" if half is None else f"half {half + 1} of 2, by document, of "
        raise InputError(
            f"{part}the validation text of {tokens.name!r} has {length:,} tokens; at least "
            f"{max(MIN_TOKENS, span) + 1:,} are needed: use a larger corpus or validation share"
        )
    count = min(available, max(1, n_tokens // span))
    first = np.linspace(0, available - 1, count).round().astype(np.int64) * span
    at = (first[:, None] + np.arange(span + 1)).reshape(-1)
    number = np.searchsorted(starts, at, side="right") - 1
    documents = chosen[number]
    ids = np.asarray(tokens.val)[edges[documents] + at - starts[number]].astype(np.int64)
    ids, documents = ids.reshape(count, -1), documents.reshape(count, -1)
    return HeldOut(
        torch.from_numpy(ids[:, :-1].reshape(-1, n_ctx)),
        torch.from_numpy(ids[:, 1:].reshape(-1, n_ctx)),
        documents[:, 1:].reshape(-1).astype(np.int64),
    )


def halves(edges: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Divide held-out documents in two: neighbours apart, and as many tokens in each as can be.

    edges: (documents + 1,) offsets of the documents. In the order of the text each goes to the half
    that has less; then documents move, one at a time, while that makes the halves more even.
    Returns the numbers of the documents of each, rising; no document is in both.
    """
    lengths = np.diff(edges)
    second = np.zeros(len(lengths), np.bool_)
    more = 0  # tokens that the first half has more than the second
    for number, length in enumerate(lengths.tolist()):
        second[number] = more > 0
        more += -length if more > 0 else length
    while more:
        larger = np.flatnonzero(second == (more < 0))
        left = np.abs(abs(more) - 2 * lengths[larger])
        moved = larger[np.argmin(left)]
        if left.min() >= abs(more):
            break
        more += 2 * int(lengths[moved]) * (1 if second[moved] else -1)
        second[moved] = not second[moved]
    return np.flatnonzero(~second), np.flatnonzero(second)


@torch.inference_mode()
def evaluate(model: LanguageModel, data: HeldOut) -> HeldOutLoss:
    """Mean cross-entropy on `data`, in nats per token, with its standard error over documents.

    With S_g the summed loss and T_g the tokens of document g of G: mean = sum S / sum T and
    se^2 = G / (G - 1) * sum (S_g - mean T_g)^2 / (sum T)^2, the ratio estimator's variance.
    Nothing is dropped meanwhile.
    Source: Cochran, Sampling Techniques, 1977, section 6.4 (no finite-population correction).
    """
    rows = max(1, TOKENS_PER_PASS // data.ids.shape[1])
    training = model.training
    model.eval()
    losses = [
        model.loss(data.ids[at : at + rows], data.targets[at : at + rows], reduction="none")
        for at in range(0, len(data.ids), rows)
    ]
    model.train(training)
    per_token = torch.cat(losses).double().numpy()
    which = np.unique(data.documents, return_inverse=True)[1]
    sums, counts = np.bincount(which, per_token), np.bincount(which)
    mean = float(sums.sum() / counts.sum())
    groups = len(counts)
    spread = float(np.sum((sums - mean * counts) ** 2))
    variance = groups / max(1, groups - 1) * spread / float(counts.sum()) ** 2
    se = math.sqrt(variance) if groups > 1 else math.nan
    return HeldOutLoss(mean, se, len(per_token), groups)
