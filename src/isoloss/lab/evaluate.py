"""The held-out loss: on the same tokens for every run, with its standard error over documents.

Spans of 1,024 tokens are taken evenly from the whole validation text and cut into contexts of the
model's length, so that models of every shape predict the same tokens. A short block serves the
learning curve, a long one the final loss.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

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


def held_out(tokens: TokenSet, n_ctx: int, n_tokens: int) -> HeldOut:
    """Take about `n_tokens` held-out tokens, the same whatever the model.

    n_ctx: context length; tokens are the same for every n_ctx that divides 1,024 and within one
    context of it otherwise. Where the validation text is shorter, all of it is taken.
    Raises InputError if the validation text has fewer than 2,048 tokens.
    """
    val = np.asarray(tokens.val)
    span = math.ceil(SPAN / n_ctx) * n_ctx
    available = (len(val) - 1) // span
    if len(val) <= max(MIN_TOKENS, span):
        raise InputError(
            f"the validation text of {tokens.name!r} has {len(val):,} tokens; at least "
            f"{max(MIN_TOKENS, span) + 1:,} are needed: use a larger corpus or validation share"
        )
    count = min(available, max(1, n_tokens // span))
    first = np.linspace(0, available - 1, count).round().astype(np.int64) * span
    at = (first[:, None] + np.arange(span)).reshape(-1, n_ctx)
    documents = np.searchsorted(tokens.val_documents, at + 1, side="right") - 1
    return HeldOut(
        torch.from_numpy(val[at].astype(np.int64)),
        torch.from_numpy(val[at + 1].astype(np.int64)),
        documents.reshape(-1).astype(np.int64),
    )


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
