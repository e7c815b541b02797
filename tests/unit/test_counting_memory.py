"""Bytes of training and of checkpoints, by hand and beside the papers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from isoloss.counting import (
    Shape,
    activation_bytes,
    checkpoint_bytes,
    count_params,
    training_memory,
)
from isoloss.errors import InputError

PLAIN = Shape(n_layer=2, d_model=10, n_heads=2, vocab=17, n_ctx=7, d_ff=30, d_attn=6)
GPT3 = Shape(n_layer=96, d_model=12288, n_heads=96, vocab=50257, n_ctx=2048)
MODERN = Shape(
    *(3, 12, 6, 11, 5),
    n_kv_heads=2,
    d_ff=20,
    gated=True,
    norm="rmsnorm",
    positions="rotary",
    bias=False,
)


@pytest.mark.parametrize(
    ("precision", "each"), [("mixed", (2, 2, 12)), ("fp32", (4, 4, 8)), ("bf16", (2, 2, 4))]
)
def test_bytes_per_parameter(precision: str, each: tuple[int, int, int]) -> None:
    n = count_params(PLAIN, "total")
    memory = training_memory(PLAIN, precision=precision)  # type: ignore[arg-type]
    assert (memory.weights, memory.gradients, memory.optimizer) == tuple(n * b for b in each)
    assert memory.activations == 0
    assert memory.total == n * sum(each)


def test_zeros_example_of_a_gpt2_of_1_5_billion() -> None:
    """Rajbhandari et al. 2020: 1.5 billion parameters take at least 24 GB."""
    xl = Shape(n_layer=48, d_model=1600, n_heads=25, vocab=50257, n_ctx=1024)
    assert training_memory(xl).total == pytest.approx(24e9, rel=0.04)


def test_every_expert_is_held_though_few_are_used() -> None:
    experts = replace(PLAIN, n_experts=5, n_active_experts=2)
    assert training_memory(experts).weights == 2 * count_params(experts, "total")
    more = activation_bytes(experts, 100) - activation_bytes(PLAIN, 100)
    assert more == 100 * 2 * 2 * 30 * 2


def test_activations_of_a_plain_layer_are_the_papers() -> None:
    """Korthikanti et al. 2022: s b h (34 + 5 a s / h), 34 and 2 for a whole layer's recomputing."""
    for recompute, factor in (("none", 34 + 80), ("selective", 34), ("full", 2)):
        found = [
            activation_bytes(replace(GPT3, n_layer=k), 2048, recompute=recompute, dropout=True)  # type: ignore[arg-type]
            for k in (1, 2)
        ]
        assert found[1] - found[0] == 2048 * 12288 * factor
    assert 5 * 96 * 2048 / 12288 == 80


def test_activations_of_a_modern_layer_by_hand() -> None:
    # Width 12, six heads of 2, two for keys; norms, attention, feed-forward; then the ends.
    layer = 2 * (2 * 12 + (12 + 2 * 12 + 2 * 4) + (12 + 3 * 20))
    ends = 2 * 2 * 12 + 4 * 11
    assert activation_bytes(MODERN, 10) == 10 * (3 * layer + ends)
    assert activation_bytes(MODERN, 10, recompute="none") == 10 * (3 * (layer + 2 * 6 * 5) + ends)
    assert activation_bytes(MODERN, 10, recompute="full") == 10 * (3 * 2 * 12 + ends)


def test_training_holds_activations_of_the_tokens_given() -> None:
    memory = training_memory(MODERN, tokens=64)
    assert memory.activations == activation_bytes(MODERN, 64)
    assert memory.total == training_memory(MODERN).total + memory.activations
    wide = training_memory(MODERN, precision="fp32", tokens=64, recompute="full").activations
    assert wide == 64 * (3 * 4 * 12 + 2 * 4 * 12 + 4 * 11)


def test_checkpoints_hold_what_a_resumed_run_needs() -> None:
    n = count_params(PLAIN, "total")
    assert checkpoint_bytes(PLAIN) == checkpoint_bytes(PLAIN, precision="fp32") == 12 * n
    assert checkpoint_bytes(PLAIN, precision="bf16") == 6 * n
    assert checkpoint_bytes(PLAIN, resumable=False) == 2 * n
    assert checkpoint_bytes(PLAIN, precision="fp32", resumable=False) == 4 * n


def test_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="mixed, fp32, bf16"):
        training_memory(PLAIN, precision="fp8")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="none, selective, full"):
        activation_bytes(PLAIN, 1, recompute="some")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tokens is -1"):
        activation_bytes(PLAIN, -1)
