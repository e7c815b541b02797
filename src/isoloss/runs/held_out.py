"""What a record holds of held-out text: losses on other corpora, and the final ones taken apart."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from isoloss.errors import InputError
from isoloss.runs.lines import build

NAN = math.nan


@dataclass(frozen=True)
class OtherLoss:
    """The loss at a point on a corpus that the run is not trained on, in nats per token."""

    corpus: str
    loss: float
    se: float = NAN
    bits_per_byte: float = NAN


@dataclass(frozen=True)
class HeldOutLosses:
    """The final loss on one corpus, at each position of the context and by document.

    corpus, hash: the text, by name and as its token set has it. step: of the model. loss: mean over
    tokens, nats; se: its standard error over documents. by_position: (n_ctx,) mean loss of the
    tokens predicted after 1, 2, ..., n_ctx tokens of context. documents: (g,) numbers of the
    held-out documents, rising; document_tokens: (g,) how many tokens of each were predicted, and
    document_losses: (g,) their mean loss. Losses in the lists have five decimals.
    """

    corpus: str
    hash: str
    step: int
    loss: float
    se: float = NAN
    bits_per_byte: float = NAN
    tokens: int = 0
    by_position: tuple[float, ...] = ()
    documents: tuple[int, ...] = ()
    document_tokens: tuple[int, ...] = ()
    document_losses: tuple[float, ...] = ()


def read_other_losses(values: object, where: str) -> tuple[OtherLoss, ...]:
    """Read what a point line has under `others`; InputError if that is something else."""
    if not isinstance(values, list) or not all(isinstance(one, dict) for one in values):
        raise InputError(f"{where}: `others` is no list of losses on other corpora")
    return tuple(build(OtherLoss, one, f"{where}: `others`") for one in values)


def read_held_out(line: Mapping[str, Any], where: str) -> HeldOutLosses:
    """Read a held_out line; InputError naming it if it does not say what such a line says."""
    found = build(HeldOutLosses, line, f"{where}: the held_out line")
    sizes = {len(found.documents), len(found.document_tokens), len(found.document_losses)}
    if len(sizes) > 1:
        raise InputError(f"{where}: the held_out line has lists of documents of several lengths")
    return found
