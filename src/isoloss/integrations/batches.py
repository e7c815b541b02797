"""How many tokens and sequences the loss of a trainer's batch is a mean over."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor

from isoloss.errors import InputError

Count: TypeAlias = Callable[[Any], tuple[float, float]]
"""From a batch as the trainer hands it to a step, to its (tokens, sequences)."""

IGNORED = -100  # a label that has no part in the loss, in torch and transformers alike


def count_batch(batch: Any, *, shifted: bool = True) -> tuple[float, float]:
    """The tokens that the loss of a batch is a mean over, and the sequences that were drawn for it.

    batch: a mapping with `shift_labels`, `labels`, `attention_mask` or `input_ids`, the first of
    these that is there; a pair of inputs and targets; or ids alone. Rows come first. shifted:
    whether the labels of a mapping are the ids themselves, of which the first of a row is no
    target; what has no label has n - 1 targets in n tokens. Labels of -100 are not counted.
    Labels of one dimension are classes, and each row is a token.
    Raises InputError for any other batch, and for a mapping that says that its rows are packed.
    """
    if isinstance(batch, Mapping):
        if packed := _packed(batch):
            raise InputError(
                f"a row of this batch holds several sequences ({packed}): give the callback "
                "count=, a function from a batch to (tokens, sequences), or batches not packed"
            )
        if isinstance(labels := batch.get("shift_labels"), Tensor):
            return _told(labels)
        if isinstance(labels := batch.get("labels"), Tensor):
            return _told(labels[:, 1:] if shifted and labels.ndim > 1 else labels)
        if isinstance(mask := batch.get("attention_mask"), Tensor):
            return float((mask.sum(dim=1) - 1).clamp(min=0).sum()), len(mask)
        batch = batch.get("input_ids")
    if isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[1], Tensor):
        return _told(batch[1])
    if isinstance(batch, Tensor) and batch.ndim == 2 and batch.dtype in (torch.int32, torch.int64):
        return len(batch) * (batch.shape[1] - 1.0), len(batch)
    raise InputError(
        "the noise meter does not know how many tokens this batch has: give the callback "
        "count=, a function from a batch to (tokens, sequences)"
    )


def _packed(batch: Mapping[str, Any]) -> str:
    """What in a batch says that a row of it holds several sequences; empty if nothing does."""
    for name, value in batch.items():
        if value is not None and (name == "seq_idx" or str(name).startswith("cu_seq")):
            return str(name)
    positions, mask = batch.get("position_ids"), batch.get("attention_mask")
    if not isinstance(positions, Tensor) or positions.ndim != 2:
        return ""
    falls = positions[:, 1:] < positions[:, :-1]
    if isinstance(mask, Tensor) and mask.shape == positions.shape:
        falls = falls & (mask[:, 1:] != 0) & (mask[:, :-1] != 0)  # padding has any position
    return "position_ids start again" if bool(falls.any()) else ""


def _told(labels: Tensor) -> tuple[float, float]:
    rows = len(labels) if labels.ndim else 1
    if labels.is_floating_point():  # a regression: one target a row
        return rows, rows
    return float((labels != IGNORED).sum()), rows
