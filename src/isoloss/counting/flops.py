"""Training FLOPs per token of a shape, by convention; one multiply-add is two FLOPs.

What to use when: `exact` for our own runs, since at small sizes the others leave out most of the
work; `6nd` and `kaplan` to compare with tables counted that way; `chinchilla` to compare with
Hoffmann et al. 2022. The backward pass is twice the forward pass in all of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from isoloss.counting.parameters import active_matrices
from isoloss.counting.shape import Shape
from isoloss.errors import InputError

CConvention = Literal["exact", "6nd", "kaplan", "chinchilla", "reported", "unknown"]

FLOP_CONVENTIONS: tuple[CConvention, ...] = ("exact", "6nd", "kaplan", "chinchilla")
"""The conventions a shape can be costed in; `reported` and `unknown` are for others' tables."""


def flops_per_token(shape: Shape, convention: CConvention = "exact") -> float:
    """Count the training FLOPs per token, forward and backward, in one convention.

    With N the layers' matrices that one token uses, as often as it uses them, V and s short for
    vocab and n_ctx, and L for n_layer * reuse, the layers it passes:
    exact: 3 * (2 * N + 2 * d_model * V + 4 * L * s * d_attn), every matrix multiply: both products
    of attention in full, not halved for causality, and the head; no softmax, norms or embedding
    lookup. A window smaller than s takes its place. Relative positions have a third product,
    queries by positions, hence 6 in place of 4. An LSTM has no attention, and no such term.
    6nd: 6 * (N + d_model * V).
    kaplan: 3 * (2 * N + 2 * L * s * d_attn), with one product of attention and no head.
    chinchilla: see `chinchilla_flops`.
    Returns FLOPs per token.
    Raises InputError on any other convention.
    Source: Kaplan et al. 2020, table 1, eq. 2.2 and, for layers used again, figure 17; Hoffmann et
    al. 2022, appendix F.
    """
    counts: dict[str, Callable[[Shape], float]] = {
        "exact": _exact,
        "6nd": _six_n,
        "kaplan": _kaplan,
        "chinchilla": chinchilla_flops,
    }
    if convention not in counts:
        raise InputError(f"{convention!r} is no FLOP count; use one of {', '.join(counts)}")
    return counts[convention](shape)


def flops_all(shape: Shape) -> dict[CConvention, float]:
    """Count the training FLOPs per token in every convention, by name."""
    return {convention: flops_per_token(shape, convention) for convention in FLOP_CONVENTIONS}


def chinchilla_flops(shape: Shape, *, embedding_and_head: bool = True) -> float:
    """Count the training FLOPs per token as appendix F of the Chinchilla paper does.

    With V, s, h short for vocab, n_ctx, n_heads, three times the sum of
    2 * V * d_model for the embedding; a layer, as often as it is used: 2 * d_model * (d_attn +
    2 * d_kv) for queries, keys and values, 2 * s * d_attn for the logits, 3 * h * s for softmax,
    2 * s * d_attn for the reduction, 2 * d_attn * d_model for the output, 2 per parameter of the
    feed-forward (of the experts a token uses), and of an LSTM's gates; 2 * d_model * V for the
    head.
    embedding_and_head: False leaves the first and last out. That, with s = 2048 and V = 32,000,
    over 6 * N with N = `non_embedding_plus_head` of relative positions, is what reproduces the
    ratios of table A4; the formula as printed does not (1.5 to 2.0 in the first row, for 1.03).
    Returns FLOPs per token. The relative-position projection is not in the formula, and not here.
    Source: Hoffmann et al. 2022, appendix F and table A4.
    """
    matrices = active_matrices(shape)
    if shape.positions == "relative":
        matrices -= _passes(shape) * shape.d_model * shape.d_attn
    products = shape.attended * (4 * shape.d_attn + 3 * shape.n_heads)
    layers = 2 * matrices + _passes(shape) * products
    ends = 4 * shape.d_model * shape.vocab if embedding_and_head else 0
    return float(3 * (layers + ends))


def _exact(shape: Shape) -> float:
    products = 3 if shape.positions == "relative" else 2
    attention = 2 * products * _passes(shape) * shape.attended * shape.d_attn
    matrices = active_matrices(shape) + shape.d_model * shape.vocab
    return float(3 * (2 * matrices + attention))


def _six_n(shape: Shape) -> float:
    return float(6 * (active_matrices(shape) + shape.d_model * shape.vocab))


def _kaplan(shape: Shape) -> float:
    attention = 2 * _passes(shape) * shape.attended * shape.d_attn
    return float(3 * (2 * active_matrices(shape) + attention))


def _passes(shape: Shape) -> int:
    return shape.n_layer * shape.reuse
