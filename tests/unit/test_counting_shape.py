"""The shape: what it fills in, what it refuses, and its plain form."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import numpy as np
import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError

SIZES: dict[str, Any] = {"n_layer": 3, "d_model": 48, "n_heads": 6, "vocab": 256, "n_ctx": 96}


def test_what_is_left_out_follows_from_the_width() -> None:
    shape = Shape(**SIZES)
    assert (shape.d_ff, shape.d_attn, shape.n_kv_heads) == (192, 48, 6)
    assert (shape.head_size, shape.d_kv, shape.attended) == (8, 48, 96)
    assert shape.qkv_bias
    assert shape.out_bias
    assert not Shape(**SIZES, bias=False).qkv_bias


def test_widths_are_independent() -> None:
    shape = Shape(**SIZES, d_ff=100, d_attn=30, n_kv_heads=2, window=32)
    assert (shape.d_ff, shape.d_attn, shape.head_size, shape.d_kv) == (100, 30, 5, 10)
    assert shape.attended == 32
    assert dataclasses.replace(shape, window=500).attended == 96


def test_replace_keeps_the_widths_already_resolved() -> None:
    assert dataclasses.replace(Shape(**SIZES), d_model=60).d_ff == 192


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n_layer": 0}, "n_layer is 0: it must be at least 1"),
        ({"d_model": -8}, "d_model is -8: it must be at least 1"),
        ({"vocab": 256.0}, "vocab is 256.0: it must be a whole number"),
        ({"n_ctx": "128"}, "n_ctx is '128': it must be a whole number"),
        ({"n_heads": True}, "n_heads is True: it must be a whole number"),
        ({"d_ff": 0}, "d_ff is 0: it must be at least 1"),
        ({"n_heads": 7}, "d_attn is 48: it must be a multiple of n_heads, 7"),
        ({"n_kv_heads": 4}, "n_kv_heads is 4: it must divide n_heads, 6"),
        ({"gated": 1}, "gated is 1: it must be true or false"),
        ({"norm": "batch"}, "norm is 'batch': it must be one of layernorm, rmsnorm"),
        ({"positions": "alibi"}, "positions is 'alibi': it must be one of learned, rotary"),
        ({"positions": ["learned"]}, "it must be one of learned, rotary"),
        ({"n_experts": 4}, "n_active_experts is 0: it must be between 1 and n_experts, 4"),
        ({"n_experts": 4, "n_active_experts": 5}, "n_active_experts is 5: it must be between 1"),
        ({"n_active_experts": 2}, "n_active_experts is 2: it must be 0 where n_experts is 0"),
        ({"d_ff_shared": 8}, "d_ff_shared is 8: it must be 0 where n_experts is 0"),
    ],
)
def test_a_refusal_names_field_value_and_rule(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError) as error:
        Shape(**{**SIZES, **change})
    assert words in str(error.value)


def test_plain_form_is_json_and_comes_back_equal() -> None:
    shape = Shape(**SIZES, d_attn=30, gated=True, norm="rmsnorm", n_experts=4, n_active_experts=2)
    plain = json.loads(json.dumps(shape.to_dict()))
    assert Shape.from_dict(plain) == shape
    assert hash(Shape.from_dict(plain)) == hash(shape)


def test_numpy_integers_become_plain_ones() -> None:
    shape = Shape(**{**SIZES, "d_model": np.int64(48)})
    assert json.dumps(shape.to_dict()) == json.dumps(Shape(**SIZES).to_dict())


def test_an_unknown_key_is_answered_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no field 'n_layers'; the nearest is 'n_layer'"):
        Shape.from_dict({**SIZES, "n_layers": 3})


def test_a_missing_key_is_named() -> None:
    with pytest.raises(InputError, match="needs n_heads, n_ctx"):
        Shape.from_dict({"n_layer": 3, "d_model": 48, "vocab": 256})
