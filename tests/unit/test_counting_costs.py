"""Parameters, FLOPs and cache on shapes small enough to count by hand."""

from __future__ import annotations

import dataclasses

import pytest

from isoloss.counting import (
    COUNT_CONVENTIONS,
    FLOP_CONVENTIONS,
    Shape,
    active_matrices,
    chinchilla_flops,
    count_all,
    count_params,
    flops_all,
    flops_per_token,
    kv_cache_bytes,
    params_by_group,
)
from isoloss.errors import InputError

PLAIN = Shape(n_layer=2, d_model=10, n_heads=2, vocab=17, n_ctx=7, d_ff=30, d_attn=6)
EXPERTS = dataclasses.replace(PLAIN, n_experts=5, n_active_experts=2)


def test_groups_of_a_plain_shape_by_hand() -> None:
    assert params_by_group(PLAIN) == {
        "token_embedding": 17 * 10,
        "position_embedding": 7 * 10,
        "attention": 2 * 4 * 10 * 6,
        "feed_forward": 2 * 2 * 10 * 30,
        # A layer: two norms, biases of q, k, v, output and both matrices; then the last norm.
        "norms_and_biases": 2 * (2 * 20 + 3 * 6 + 10 + 30 + 10) + 20,
        "head": 0,
    }


def test_conventions_of_a_plain_shape_by_hand() -> None:
    matrices = 2 * 10 * 2 * (2 * 6 + 30)
    assert count_all(PLAIN) == {
        "non_embedding": matrices,
        "non_embedding_plus_head": matrices + 170,
        "total": 170 + 70 + matrices + 236,
        "active": 170 + 70 + matrices + 236,
    }


def test_untying_adds_a_head_to_the_total_only() -> None:
    untied = dataclasses.replace(PLAIN, tied=False)
    before, after = count_all(PLAIN), count_all(untied)
    assert after["total"] == before["total"] + 170
    assert after["non_embedding_plus_head"] == before["non_embedding_plus_head"]
    assert flops_all(untied) == flops_all(PLAIN)


def test_grouped_queries_gates_and_bare_norms_by_hand() -> None:
    shape = Shape(
        *(3, 12, 6, 11, 5),
        n_kv_heads=2,
        d_ff=20,
        gated=True,
        norm="rmsnorm",
        positions="rotary",
        tied=False,
        bias=False,
        qkv_bias=True,
        qk_norm="head",
    )
    assert params_by_group(shape) == {
        "token_embedding": 132,
        "position_embedding": 0,
        "attention": 3 * (2 * 12 * 12 + 2 * 12 * 4),
        "feed_forward": 3 * 3 * 12 * 20,
        "norms_and_biases": 3 * (2 * 12 + (12 + 4 + 4) + 2 * 2) + 12,
        "head": 132,
    }
    full = dataclasses.replace(shape, qk_norm="full")
    assert count_params(full, "total") - count_params(shape, "total") == 3 * (12 + 4 - 2 * 2)


def test_relative_positions_add_a_projection_and_two_vectors() -> None:
    relative = dataclasses.replace(PLAIN, positions="relative")
    none = dataclasses.replace(PLAIN, positions="none")
    before, after = params_by_group(none), params_by_group(relative)
    assert after["attention"] - before["attention"] == 2 * 10 * 6
    assert after["norms_and_biases"] - before["norms_and_biases"] == 2 * 2 * 6
    assert flops_per_token(relative) - flops_per_token(none) == 3 * 2 * (2 * 10 * 6 + 2 * 7 * 6)


def test_experts_by_hand() -> None:
    expert, biases, router = 2 * 10 * 30, 30 + 10, 10 * 5
    assert params_by_group(EXPERTS)["feed_forward"] == 2 * (5 * expert + router)
    idle = 2 * 3 * (expert + biases)
    assert count_params(EXPERTS, "total") - count_params(EXPERTS, "active") == idle
    assert active_matrices(EXPERTS) == 2 * (4 * 10 * 6 + 2 * expert + router)


def test_a_shared_expert_is_always_active() -> None:
    shared = dataclasses.replace(EXPERTS, d_ff_shared=9)
    before, after = count_all(EXPERTS), count_all(shared)
    matrices = 2 * (2 * 10 * 9 + 10)
    assert after["non_embedding"] - before["non_embedding"] == matrices
    for convention in ("total", "active"):
        assert after[convention] - before[convention] == matrices + 2 * (9 + 10)


def test_flops_of_a_plain_shape_by_hand() -> None:
    n, head, product = 1680, 170, 2 * 7 * 6
    assert flops_all(PLAIN) == {
        "exact": 3 * (2 * n + 2 * head + 2 * 2 * product),
        "6nd": 6 * (n + head),
        "kaplan": 3 * (2 * n + 2 * product),
        "chinchilla": 3 * (2 * n + 4 * head + 2 * (2 * product + 3 * 2 * 7)),
    }
    layers_only = 3 * (2 * n + 2 * (2 * product + 3 * 2 * 7))
    assert chinchilla_flops(PLAIN, embedding_and_head=False) == layers_only


def test_flops_count_the_experts_a_token_uses() -> None:
    doubled = dataclasses.replace(EXPERTS, n_experts=10)
    for convention in FLOP_CONVENTIONS:
        router = flops_per_token(doubled, convention) - flops_per_token(EXPERTS, convention)
        assert router == 3 * 2 * 2 * 10 * 5


def test_grouped_queries_cost_full_attention_products() -> None:
    grouped = dataclasses.replace(PLAIN, n_kv_heads=1)
    saved = flops_per_token(PLAIN) - flops_per_token(grouped)
    assert saved == 6 * (count_params(PLAIN) - count_params(grouped))


def test_a_window_shortens_attention_and_the_cache() -> None:
    window = dataclasses.replace(PLAIN, window=3)
    assert flops_per_token(PLAIN) - flops_per_token(window) == 3 * 2 * 4 * (7 - 3) * 6
    assert kv_cache_bytes(window) == kv_cache_bytes(PLAIN, tokens=3)
    assert count_all(window) == count_all(PLAIN)


def test_cache_by_hand() -> None:
    grouped = dataclasses.replace(PLAIN, n_kv_heads=1)
    assert kv_cache_bytes(PLAIN) == 2 * 2 * 6 * 7 * 2
    assert kv_cache_bytes(grouped, tokens=100, bytes_per_value=1) == 2 * 2 * 3 * 100
    assert kv_cache_bytes(PLAIN, tokens=0) == 0


def test_conventions_without_a_count_are_refused() -> None:
    with pytest.raises(InputError, match="'unknown' is no parameter count; use one of non_embed"):
        count_params(PLAIN, "unknown")
    with pytest.raises(InputError, match="'reported' is no FLOP count; use one of exact, 6nd"):
        flops_per_token(PLAIN, "reported")
    with pytest.raises(InputError, match="tokens is -1"):
        kv_cache_bytes(PLAIN, tokens=-1)
    with pytest.raises(InputError, match="bytes_per_value is 0"):
        kv_cache_bytes(PLAIN, bytes_per_value=0)


def test_counts_are_whole_and_in_a_stable_order() -> None:
    assert tuple(count_all(PLAIN)) == COUNT_CONVENTIONS
    assert tuple(flops_all(PLAIN)) == FLOP_CONVENTIONS
    assert all(type(count) is int for count in count_all(EXPERTS).values())
