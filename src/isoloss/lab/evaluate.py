"""The held-out loss: on the same tokens for every run, with its standard error over documents.

Spans of 1,024 tokens are taken evenly from the whole validation text and cut into contexts of the
model's length, so that models of every shape predict the same tokens. A short block serves the
learning curve, a long one the final loss. A run that may stop early has each on its own half of the
documents.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.models import LanguageModel
from isoloss.lab.parallel.team import team_of
from isoloss.lab.tokens import TokenSet
from isoloss.runs import HeldOutLosses, OtherLoss, RunSpec
from isoloss.units import nats_to_bits

SPAN = 1024
TOKENS_PER_PASS = 8192
NUMBERS_PER_PASS = {"cpu": 1 << 21}  # of one layer
MANY_NUMBERS_PER_PASS = 1 << 27  # elsewhere
MIN_TOKENS = 2 * SPAN
DECIMALS = 5  # of the losses in the lists of a record


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
class HeldOutText:
    """Held-out contexts of every corpus that a run is evaluated on, its own first.

    names: as the record has them. sets: whose text it is. blocks: for a point of the learning
    curve. finals: for the final loss.
    """

    names: tuple[str, ...]
    sets: tuple[TokenSet, ...]
    blocks: tuple[HeldOut, ...]
    finals: tuple[HeldOut, ...]

    @property
    def block_tokens(self) -> int:
        """Tokens of one point, all corpora together."""
        return sum(block.tokens for block in self.blocks)

    @property
    def final_tokens(self) -> int:
        """Tokens of the final evaluation, all corpora together."""
        return sum(final.tokens for final in self.finals)

    def at_point(self, model: LanguageModel) -> tuple[HeldOutLoss, tuple[OtherLoss, ...]]:
        """The loss on the block of the run's own corpus, and on those of the others."""
        found = [evaluate(model, block) for block in self.blocks]
        others = zip(self.names[1:], self.sets[1:], found[1:], strict=True)
        return found[0], tuple(
            OtherLoss(name, one.loss, one.se, bits_per_byte(one.loss, tokens))
            for name, tokens, one in others
        )

    def at_end(self, model: LanguageModel, step: int) -> tuple[HeldOutLosses, ...]:
        """The final losses on every corpus; step: of the model."""
        several = zip(self.names, self.sets, self.finals, strict=True)
        return tuple(
            evaluate_apart(model, final, tokens, name, step) for name, tokens, final in several
        )


@dataclass(frozen=True)
class HeldOutLoss:
    """A loss in nats per token, its standard error over documents, and what it was measured on."""

    loss: float
    se: float
    tokens: int
    documents: int


def held_out_text(
    spec: RunSpec, tokens: TokenSet, eval_sets: Mapping[str, TokenSet]
) -> HeldOutText:
    """Take the held-out text that a run asks for.

    eval_sets: the token sets of `eval_corpora`, by name, in its order. With `patience` points are
    on the first half of the documents of each corpus and the final loss on the second.
    """
    sets = (tokens, *eval_sets.values())
    halves_of = (0, 1) if spec.patience else (None, None)
    blocks, finals = (
        tuple(held_out(one, spec.shape.n_ctx, size, half=half) for one in sets)
        for size, half in zip((spec.eval_block, spec.eval_final), halves_of, strict=True)
    )
    return HeldOutText((tokens.name, *eval_sets), sets, blocks, finals)


def held_out(tokens: TokenSet, n_ctx: int, n_tokens: int, *, half: int | None = None) -> HeldOut:
    """Take about `n_tokens` held-out tokens, the same whatever the model.

    n_ctx: context length; tokens are the same for every n_ctx that divides 1,024 and within one
    context of it otherwise. Where the validation text is shorter, all of it is taken.
    half: 0 or 1 of the two that `halves` makes of the documents, end to end; None for all the text.
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


def evaluate(model: LanguageModel, data: HeldOut) -> HeldOutLoss:
    """Mean cross-entropy on `data`, in nats per token, with its standard error over documents.

    With S_g the summed loss and T_g the tokens of document g of G: mean = sum S / sum T and
    se^2 = G / (G - 1) * sum (S_g - mean T_g)^2 / (sum T)^2, the ratio estimator's variance.
    Dropout is off meanwhile.
    Source: Cochran, Sampling Techniques, 1977, section 6.4 (no finite-population correction).
    """
    return _summary(token_losses(model, data), data)


@torch.inference_mode()
def token_losses(model: LanguageModel, data: HeldOut) -> NDArray[np.float64]:
    """The loss of every token predicted, (windows, n_ctx) in nats."""
    device = next(model.parameters()).device
    rows = rows_of_a_pass(model.shape, data.ids.shape[1], device.type)
    rows *= team_of(model).size  # of which each process takes its part
    training = model.training
    model.eval()
    # Into one array: results kept one by one would lie in the way of the next pass's memory.
    losses = torch.empty(data.ids.shape, dtype=torch.float64)
    for at in range(0, len(data.ids), rows):
        part = slice(at, at + rows)
        ids, targets = data.ids[part].to(device), data.targets[part].to(device)
        losses[part] = model.loss(ids, targets, reduction="none").view(ids.shape)
    model.train(training)
    found: NDArray[np.float64] = losses.numpy()
    return found


def rows_of_a_pass(shape: Shape, n_ctx: int, device: str) -> int:
    """Contexts evaluated at once: at most 8,192 tokens, and of no layer more than 8 MB on a CPU.

    So an evaluation takes no more memory than training does, however wide the model or large the
    vocabulary, and a layer stays near a core's cache. device: its type.
    """
    numbers = NUMBERS_PER_PASS.get(device, MANY_NUMBERS_PER_PASS)
    widest = max(shape.vocab, shape.d_ff, 4 * shape.d_model)
    return max(1, min(TOKENS_PER_PASS, numbers // widest) // n_ctx)


def evaluate_apart(
    model: LanguageModel, data: HeldOut, tokens: TokenSet, name: str, step: int
) -> HeldOutLosses:
    """The loss on `data` as `evaluate` has it, at each position of the context, and by document.

    tokens: the set that `data` is of. name: what the record calls it. step: of the model.
    """
    per_token = token_losses(model, data)
    whole = _summary(per_token, data)
    numbers, which = np.unique(data.documents, return_inverse=True)
    counts = np.bincount(which)
    means = np.bincount(which, per_token.reshape(-1)) / counts
    return HeldOutLosses(
        corpus=name,
        hash=tokens.hash,
        step=step,
        loss=whole.loss,
        se=whole.se,
        bits_per_byte=bits_per_byte(whole.loss, tokens),
        tokens=whole.tokens,
        by_position=tuple(per_token.mean(axis=0).round(DECIMALS).tolist()),
        documents=tuple(numbers.tolist()),
        document_tokens=tuple(counts.tolist()),
        document_losses=tuple(means.round(DECIMALS).tolist()),
    )


def bits_per_byte(loss: float, tokens: TokenSet) -> float:
    """A loss in nats per token as bits per byte of the held-out text of a token set."""
    return nats_to_bits(loss) / tokens.bytes_per_token


def _summary(losses: NDArray[np.float64], data: HeldOut) -> HeldOutLoss:
    per_token = losses.reshape(-1)
    which = np.unique(data.documents, return_inverse=True)[1]
    sums, counts = np.bincount(which, per_token), np.bincount(which)
    mean = float(sums.sum() / counts.sum())
    groups = len(counts)
    spread = float(np.sum((sums - mean * counts) ** 2))
    variance = groups / max(1, groups - 1) * spread / float(counts.sum()) ** 2
    se = math.sqrt(variance) if groups > 1 else math.nan
    return HeldOutLoss(mean, se, len(per_token), groups)
