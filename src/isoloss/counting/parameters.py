"""Parameters of a shape, by group and by convention.

What to use when: `non_embedding` to compare with Kaplan et al. 2020; `non_embedding_plus_head`
to analyse small models, where the head is much of the work; `total` to compare with Hoffmann
et al. 2022 and with what a checkpoint holds; `active` for the part of a mixture of experts that
one token uses.

The two `non_embedding` counts are of matrices only: biases and norms, up to 15 % of a very small
model, are a group of their own and enter `total` and `active` alone.
"""

from __future__ import annotations

from typing import Literal

from isoloss.counting.shape import Shape
from isoloss.errors import InputError

NConvention = Literal["non_embedding", "non_embedding_plus_head", "total", "active", "unknown"]

COUNT_CONVENTIONS: tuple[NConvention, ...] = (
    "non_embedding",
    "non_embedding_plus_head",
    "total",
    "active",
)
"""The conventions a shape can be counted in; `unknown` is for tables that do not say theirs."""


def count_params(shape: Shape, convention: NConvention = "non_embedding_plus_head") -> int:
    """Count the parameters of a shape in one convention.

    non_embedding: all matrices of the layers; for plain attention and a plain feed-forward this
    is Kaplan's N = 2 * d_model * n_layer * (2 * d_attn + d_ff). Experts count in full, layers that
    are used again once.
    non_embedding_plus_head: that plus d_model * vocab, whether or not the head is tied.
    total: every parameter, a tied embedding once.
    active: total with only the experts that one token uses, and the router.
    Returns parameters.
    Raises InputError on any other convention.
    Source: Kaplan et al. 2020, table 1 and eq. 2.1; sums by group in `params_by_group`.
    """
    if convention not in COUNT_CONVENTIONS:
        raise InputError(
            f"{convention!r} is no parameter count; use one of {', '.join(COUNT_CONVENTIONS)}"
        )
    groups = params_by_group(shape)
    if convention == "total":
        return sum(groups.values())
    if convention == "active":
        return sum(groups.values()) - _idle_experts(shape, _expert(shape))
    matrices = sum(groups.get(name, 0) for name in ("attention", "feed_forward", "recurrent"))
    if convention == "non_embedding":
        return matrices
    return matrices + shape.d_model * shape.vocab


def count_all(shape: Shape) -> dict[NConvention, int]:
    """Count the parameters of a shape in every convention, by name."""
    return {convention: count_params(shape, convention) for convention in COUNT_CONVENTIONS}


def params_by_group(shape: Shape) -> dict[str, int]:
    """Count every parameter of a shape, in groups that sum to the total: six, or an LSTM's four.

    token_embedding: vocab * d_model.
    position_embedding: n_ctx * d_model where positions are learned, otherwise 0.
    attention: n_layer * (2 * d_model * d_attn + 2 * d_model * d_kv) for queries, output, keys and
    values, with d_kv = n_kv_heads * head size; relative positions add d_model * d_attn a layer.
    feed_forward: n_layer * 2 * d_model * d_ff, 3 where gated, times n_experts, plus the router
    (d_model * n_experts) and the shared expert with its gate.
    norms_and_biases: scales and biases of two norms a layer and one before the head, norms on
    queries and keys, biases of the layers' matrices, the two vectors of relative positions.
    head: vocab * d_model, or 0 where tied.
    An LSTM has no position_embedding, attention and feed_forward, but recurrent: n_layer * 8 *
    d_model ** 2, for each of four gates a matrix for the layer's input and one for its state; its
    biases are two vectors a gate.
    Source: Kaplan et al. 2020, table 1; Hoffmann et al. 2022, table A9, whose 50 sizes follow
    with relative positions and all biases; torch's `nn.LSTM` for its biases.
    """
    if shape.kind == "lstm":
        return _lstm_groups(shape)
    matrices = 2 * shape.d_model * (shape.d_attn + shape.d_kv)
    if shape.positions == "relative":
        matrices += shape.d_model * shape.d_attn
    embedding = shape.vocab * shape.d_model
    return {
        "token_embedding": embedding,
        "position_embedding": shape.n_ctx * shape.d_model if shape.positions == "learned" else 0,
        "attention": shape.n_layer * matrices,
        "feed_forward": shape.n_layer * _feed_forward(shape),
        "norms_and_biases": shape.n_layer * _layer_vectors(shape) + _norm(shape),
        "head": 0 if shape.tied else embedding,
    }


def active_matrices(shape: Shape) -> int:
    """Count the layers' matrix parameters that one token is multiplied with.

    This is `non_embedding` less the experts the token does not use, as often as the layers are
    used: the N of 6N.
    """
    matrices = count_params(shape, "non_embedding") - _idle_experts(shape, _expert_matrices(shape))
    return shape.reuse * matrices


def _lstm_groups(shape: Shape) -> dict[str, int]:
    embedding = shape.vocab * shape.d_model
    return {
        "token_embedding": embedding,
        "recurrent": shape.n_layer * 8 * shape.d_model**2,
        "norms_and_biases": shape.n_layer * 8 * shape.d_model if shape.bias else 0,
        "head": 0 if shape.tied else embedding,
    }


def _feed_forward(shape: Shape) -> int:
    if not shape.n_experts:
        return _expert_matrices(shape)
    router = shape.d_model * shape.n_experts
    shared = 0
    if shape.d_ff_shared:
        shared = _mats(shape) * shape.d_model * shape.d_ff_shared + shape.d_model
    return shape.n_experts * _expert_matrices(shape) + router + shared


def _mats(shape: Shape) -> int:
    return 3 if shape.gated else 2


def _expert_matrices(shape: Shape) -> int:
    return _mats(shape) * shape.d_model * shape.d_ff


def _expert_biases(shape: Shape, width: int) -> int:
    return (_mats(shape) - 1) * width + shape.d_model if shape.bias else 0


def _expert(shape: Shape) -> int:
    return _expert_matrices(shape) + _expert_biases(shape, shape.d_ff)


def _idle_experts(shape: Shape, size: int) -> int:
    return shape.n_layer * (shape.n_experts - shape.n_active_experts) * size


def _norm(shape: Shape) -> int:
    with_bias = shape.norm == "layernorm" and shape.bias
    return 2 * shape.d_model if with_bias else shape.d_model


def _layer_vectors(shape: Shape) -> int:
    vectors = 2 * _norm(shape)
    if shape.qkv_bias:
        vectors += shape.d_attn + 2 * shape.d_kv
    if shape.out_bias:
        vectors += shape.d_model
    if shape.positions == "relative":
        vectors += 2 * shape.d_attn
    if shape.qk_norm == "head":
        vectors += 2 * shape.head_size
    if shape.qk_norm == "full":
        vectors += shape.d_attn + shape.d_kv
    vectors += max(1, shape.n_experts) * _expert_biases(shape, shape.d_ff)
    if shape.d_ff_shared:
        vectors += _expert_biases(shape, shape.d_ff_shared)
    return vectors
