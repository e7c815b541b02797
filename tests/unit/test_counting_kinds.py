"""The LSTM and the recurrent transformer: their fields, their plain form, what they cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import (
    COUNT_CONVENTIONS,
    FLOP_CONVENTIONS,
    Shape,
    activation_bytes,
    active_matrices,
    count_all,
    count_params,
    flops_all,
    flops_per_token,
    kv_cache_bytes,
    lstm_near,
    params_by_group,
    read_config,
    shape_near,
    training_memory,
)
from isoloss.errors import InputError

PLAIN = Shape(n_layer=3, d_model=20, n_heads=2, vocab=53, n_ctx=24)
LSTM = Shape.lstm(3, 20, 53, 24)
PLAIN_FORM = {
    "n_layer": 3, "d_model": 20, "n_heads": 2, "vocab": 53, "n_ctx": 24, "d_ff": 80, "d_attn": 20,
    "n_kv_heads": 2, "gated": False, "norm": "layernorm", "positions": "learned", "tied": True,
    "bias": True, "qkv_bias": True, "out_bias": True, "qk_norm": "none", "n_experts": 0,
    "n_active_experts": 0, "d_ff_shared": 0, "window": 0,
}  # fmt: skip


def test_the_plain_form_of_a_plain_transformer_is_what_it_was() -> None:
    # Names of runs hash it: a new key here would orphan every record.
    assert PLAIN.to_dict() == PLAIN_FORM
    assert list(PLAIN.to_dict()) == list(PLAIN_FORM)


@pytest.mark.parametrize(
    "shape",
    [LSTM, Shape.lstm(1, 7, 5, 3, tied=False, bias=False), replace(PLAIN, reuse=4)],
    ids=["lstm", "bare lstm", "reuse"],
)
def test_the_plain_form_comes_back(shape: Shape, tmp_path: Path) -> None:
    plain = json.loads(json.dumps(shape.to_dict()))
    assert Shape.from_dict(plain) == shape
    assert replace(shape) == shape
    (tmp_path / "shape.json").write_text(json.dumps(plain))
    assert read_config(tmp_path / "shape.json") == shape


def test_an_lstm_has_only_its_own_fields() -> None:
    form = LSTM.to_dict()
    assert form == {
        "kind": "lstm", "n_layer": 3, "d_model": 20, "vocab": 53, "n_ctx": 24, "tied": True,
        "bias": True,
    }  # fmt: skip
    assert (LSTM.n_heads, LSTM.d_attn, LSTM.d_ff, LSTM.head_size, LSTM.d_kv) == (0, 0, 0, 0, 0)
    assert LSTM.positions == "none"
    assert replace(LSTM, d_model=64) == Shape.lstm(3, 64, 53, 24)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_heads": 2}, "n_heads is 2: an LSTM has no such thing; leave it out, or give 0"),
        ({"d_ff": 80}, "d_ff is 80: an LSTM has no such thing"),
        ({"d_attn": 20}, "d_attn is 20: an LSTM"),
        ({"n_kv_heads": 1}, "n_kv_heads is 1: an LSTM"),
        ({"gated": True}, "gated is True: an LSTM"),
        ({"norm": "rmsnorm"}, "norm is 'rmsnorm': an LSTM"),
        ({"positions": "learned"}, "positions is 'learned': an LSTM has no such thing"),
        ({"qkv_bias": True}, "qkv_bias is True: an LSTM"),
        ({"out_bias": True}, "out_bias is True: an LSTM"),
        ({"qk_norm": "head"}, "qk_norm is 'head': an LSTM"),
        ({"n_experts": 2, "n_active_experts": 1}, "n_experts is 2: an LSTM"),
        ({"window": 8}, "window is 8: an LSTM"),
        ({"reuse": 2}, "reuse is 2: an LSTM"),
        ({"n_heads": -1}, "n_heads is -1: it must be at least 0"),
        ({"kind": "gru"}, "kind is 'gru': it must be one of transformer, lstm"),
        ({"kind": "transformer"}, "n_heads is 0: it must be at least 1"),
    ],
)
def test_what_means_nothing_for_an_lstm_is_refused(change: dict[str, Any], words: str) -> None:
    for build in (lambda: replace(LSTM, **change), lambda: Shape.from_dict(_given(change))):
        with pytest.raises(InputError) as error:
            build()
        assert words in str(error.value)


def _given(change: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "lstm", "n_layer": 3, "d_model": 20, "n_heads": 0, "vocab": 53, "n_ctx": 24} | (
        change
    )


@pytest.mark.parametrize("reuse", [0, -2, 1.5, "2", True])
def test_a_re_use_that_is_no_count_is_refused(reuse: Any) -> None:
    with pytest.raises(InputError, match="reuse is"):
        replace(PLAIN, reuse=reuse)


def test_a_missing_field_of_an_lstm_is_named_and_heads_are_none() -> None:
    with pytest.raises(InputError, match=r"needs vocab, n_ctx"):
        Shape.from_dict({"kind": "lstm", "n_layer": 3, "d_model": 20})


def test_parameters_of_an_lstm_by_hand() -> None:
    groups = {"token_embedding": 1060, "recurrent": 9600, "norms_and_biases": 480, "head": 0}
    assert params_by_group(LSTM) == groups
    bare = replace(LSTM, tied=False, bias=False)
    assert params_by_group(bare) == groups | {"norms_and_biases": 0, "head": 1060}
    counts = (9600, 9600 + 1060, 9600 + 480 + 1060, 9600 + 480 + 1060)
    assert tuple(count_all(LSTM).values()) == counts
    assert set(count_all(LSTM)) == set(COUNT_CONVENTIONS)


def test_flops_of_an_lstm_by_hand() -> None:
    # 9,600 entries of matrices, a head of 1,060; nothing depends on the context.
    assert flops_all(LSTM) == {
        "exact": 6 * 10660,
        "6nd": 6 * 10660,
        "kaplan": 6 * 9600,
        "chinchilla": 6 * (9600 + 2 * 1060),
    }
    assert flops_all(replace(LSTM, n_ctx=1000)) == flops_all(LSTM)


@pytest.mark.parametrize("reuse", [2, 4, 8])
def test_layers_used_again_cost_again_and_count_once(reuse: int) -> None:
    recurrent = replace(PLAIN, reuse=reuse)
    deep = replace(PLAIN, n_layer=3 * reuse)
    assert params_by_group(recurrent) == params_by_group(PLAIN)
    assert count_all(recurrent) == count_all(PLAIN)
    assert active_matrices(recurrent) == active_matrices(deep)
    for convention in FLOP_CONVENTIONS:
        assert flops_per_token(recurrent, convention) == flops_per_token(deep, convention)
    assert activation_bytes(recurrent, 48) == activation_bytes(deep, 48)
    assert kv_cache_bytes(recurrent) == kv_cache_bytes(deep)
    assert training_memory(recurrent) == training_memory(PLAIN)


def test_layers_used_again_have_their_idle_experts_and_relative_positions() -> None:
    given: dict[str, Any] = {"n_experts": 4, "n_active_experts": 2, "positions": "relative"}
    recurrent, deep = replace(PLAIN, reuse=3, **given), replace(PLAIN, n_layer=9, **given)
    assert count_params(recurrent, "active") == count_params(replace(PLAIN, **given), "active")
    for convention in FLOP_CONVENTIONS:
        assert flops_per_token(recurrent, convention) == flops_per_token(deep, convention)


def test_an_lstms_state_does_not_grow() -> None:
    assert kv_cache_bytes(LSTM) == kv_cache_bytes(LSTM, tokens=10_000) == 2 * 3 * 20 * 2
    assert kv_cache_bytes(LSTM, bytes_per_value=4) == 2 * 3 * 20 * 4


@pytest.mark.parametrize(
    ("recompute", "dropout", "each"),
    [
        ("none", False, 3 * 8 * 40 + 40 + 4 * 53),
        ("selective", False, 3 * 8 * 40 + 40 + 4 * 53),
        ("full", False, 3 * 40 + 40 + 4 * 53),
        ("none", True, 3 * (8 * 40 + 60) + 40 + 60 + 4 * 53),
    ],
)
def test_activations_of_an_lstm_by_hand(recompute: Any, dropout: bool, each: int) -> None:
    assert activation_bytes(LSTM, 10, recompute=recompute, dropout=dropout) == 10 * each


@pytest.mark.parametrize("n_layer", [1, 2, 4])
@pytest.mark.parametrize("convention", ["non_embedding", "non_embedding_plus_head", "total"])
def test_an_lstm_is_matched_to_a_transformer(n_layer: int, convention: Any) -> None:
    for asked in (3e4, 4e5, 3e6, 5e7, 1.5e9):
        size = count_params(shape_near(asked, vocab=256, n_ctx=128).shape, convention)
        found = lstm_near(size, n_layer=n_layer, vocab=256, n_ctx=128, convention=convention)
        assert found.n == count_params(found.shape, convention)
        assert found.off == pytest.approx(found.n / size - 1)
        assert found.shape.kind == "lstm"
        assert found.shape.n_layer == n_layer
        assert found.close or size < 1e5
        assert abs(found.off) < 0.06


@pytest.mark.parametrize("n_layer", [1, 2, 4])
def test_no_width_is_nearer_where_none_is_near(n_layer: int) -> None:
    for n in (60, 500, 768, 3072, 7777, 20_000):
        found = lstm_near(n, n_layer=n_layer, vocab=256, n_ctx=128)
        width = found.shape.d_model
        for other in (width - 1, width + 1):
            count = 8 * n_layer * other**2
            assert found.close or abs(count / n - 1) >= abs(found.off)


def test_widths_are_round_where_that_is_near_enough() -> None:
    assert lstm_near(8 * 1024**2, n_layer=1, vocab=256, n_ctx=128).shape.d_model == 1024
    assert lstm_near(1e9, n_layer=4, vocab=256, n_ctx=128).shape.d_model % 128 == 0
    assert lstm_near(8 * 37**2, n_layer=1, vocab=256, n_ctx=128).shape.d_model == 37


def test_sizes_that_are_none_are_refused() -> None:
    for n in (0, -3.0, float("nan"), True):
        with pytest.raises(InputError, match="number of parameters"):
            lstm_near(n, n_layer=1, vocab=256, n_ctx=128)
    with pytest.raises(InputError, match="n_layer is 0"):
        lstm_near(1e6, n_layer=0, vocab=256, n_ctx=128)
    with pytest.raises(InputError, match="no parameter count"):
        lstm_near(1e6, n_layer=1, vocab=256, n_ctx=128, convention="unknown")
