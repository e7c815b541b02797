"""Shapes near a number of parameters: how near, how usual, and beside models people trained."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from isoloss.counting import COUNT_CONVENTIONS, Shape, count_params, shape_near, usual_depth
from isoloss.errors import InputError

SIZES = np.geomspace(1e5, 1e12, 71).tolist()

# Name, style, vocabulary, context, query heads per key head, layers, width, d_ff, tied.
MODELS = (
    ("GPT-2 small", "gpt2", 50257, 1024, 1, 12, 768, 3072, True),
    ("GPT-2 medium", "gpt2", 50257, 1024, 1, 24, 1024, 4096, True),
    ("GPT-2 large", "gpt2", 50257, 1024, 1, 36, 1280, 5120, True),
    ("GPT-2 XL", "gpt2", 50257, 1024, 1, 48, 1600, 6400, True),
    ("GPT-3", "gpt2", 50257, 2048, 1, 96, 12288, 49152, True),
    ("Llama 2 7B", "modern", 32000, 4096, 1, 32, 4096, 11008, False),
    ("Llama 2 13B", "modern", 32000, 4096, 1, 40, 5120, 13824, False),
    ("Llama 2 70B", "modern", 32000, 4096, 8, 80, 8192, 28672, False),
    ("Llama 3 405B", "modern", 128256, 8192, 16, 126, 16384, 53248, False),
)


@pytest.mark.parametrize("style", ["modern", "gpt2"])
@pytest.mark.parametrize("convention", COUNT_CONVENTIONS)
def test_the_shape_counts_what_it_says_and_is_near(style: str, convention: str) -> None:
    for n in SIZES:
        found = shape_near(n, vocab=256, n_ctx=128, style=style, convention=convention)  # type: ignore[arg-type]
        assert found.n == count_params(found.shape, convention)  # type: ignore[arg-type]
        assert found.asked == n
        assert found.off == pytest.approx(found.n / n - 1)
        assert found.close == (abs(found.off) <= 0.02)
        if n > 1e6:
            assert found.close, f"{n:.3g} is {found.off:+.1%} off"
        assert abs(found.off) < 0.1


@pytest.mark.parametrize("style", ["modern", "gpt2"])
def test_what_was_found_is_found_again(style: str) -> None:
    for n in SIZES[::5]:
        once = shape_near(n, vocab=32000, n_ctx=2048, style=style)  # type: ignore[arg-type]
        again = shape_near(once.n, vocab=32000, n_ctx=2048, style=style)  # type: ignore[arg-type]
        assert abs(again.off) <= 0.02
        assert again.shape.d_model / once.shape.d_model == pytest.approx(1, abs=0.15)


def test_a_large_vocabulary_leaves_no_small_shape_and_that_is_said() -> None:
    found = shape_near(1e5, vocab=50257, n_ctx=1024)
    assert not found.close
    assert found.shape.d_model == 8
    assert found.off == pytest.approx(found.n / 1e5 - 1)
    assert found.off > 3


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model[0])
def test_beside_models_people_trained(model: tuple[object, ...]) -> None:
    _, style, vocab, n_ctx, group, layers, width, d_ff, tied = model
    modern = style == "modern"
    heads = width // (64 if width < 2048 else 128)  # type: ignore[operator]
    real = Shape(
        n_layer=layers,  # type: ignore[arg-type]
        d_model=width,  # type: ignore[arg-type]
        n_heads=heads,
        n_kv_heads=heads // group,  # type: ignore[operator]
        vocab=vocab,  # type: ignore[arg-type]
        n_ctx=n_ctx,  # type: ignore[arg-type]
        d_ff=d_ff,  # type: ignore[arg-type]
        gated=modern,
        norm="rmsnorm" if modern else "layernorm",
        positions="rotary" if modern else "learned",
        bias=not modern,
        tied=tied,  # type: ignore[arg-type]
    )
    found = shape_near(
        count_params(real, "total"),
        vocab=vocab,  # type: ignore[arg-type]
        n_ctx=n_ctx,  # type: ignore[arg-type]
        style=style,  # type: ignore[arg-type]
        convention="total",
        group=group,  # type: ignore[arg-type]
    )
    assert found.close
    assert 1 / 1.35 < found.shape.d_model / width < 1.35  # type: ignore[operator]
    assert 1 / 1.75 < found.shape.n_layer / layers < 1.75  # type: ignore[operator]


def test_gpt2_small_itself() -> None:
    found = shape_near(124_439_808, vocab=50257, n_ctx=1024, style="gpt2", convention="total")
    assert found.shape == Shape(n_layer=12, d_model=768, n_heads=12, vocab=50257, n_ctx=1024)
    assert found.off == 0


@pytest.mark.parametrize("style", ["modern", "gpt2"])
def test_widths_and_heads_are_sensible(style: str) -> None:
    for n in np.geomspace(1e5, 1e12, 40):
        shape = shape_near(n, vocab=256, n_ctx=128, style=style).shape  # type: ignore[arg-type]
        assert shape.d_model % (8 if shape.d_model < 256 else 64) == 0
        assert shape.head_size in (8, 16, 32, 64, 128)
        assert shape.n_layer >= 2
        assert 1 / 3 < shape.n_layer / max(2.0, usual_depth(shape.d_model)) <= 3.2
        if style == "modern":
            assert 2.2 < shape.d_ff / shape.d_model < 3.1
            assert shape.gated
            assert not shape.bias
        else:
            assert shape.d_ff == 4 * shape.d_model
            assert shape.positions == "learned"


def test_width_over_depth_rises_slowly() -> None:
    ratios = []
    for n in (1e7, 1e8, 1e9, 1e10, 1e11, 1e12):
        shape = shape_near(n, vocab=32000 if n > 1e8 else 256, n_ctx=1024).shape
        ratios.append(shape.d_model / shape.n_layer)
    assert ratios == sorted(ratios)
    assert 30 < ratios[0] < 60
    assert 110 < ratios[-2] < 150
    assert all(b / a < 1.6 for a, b in pairwise(ratios))


@pytest.mark.parametrize("group", [2, 4, 8])
def test_query_heads_share_keys_as_asked(group: int) -> None:
    for n in (1e8, 1e9, 7e10):
        found = shape_near(n, vocab=32000, n_ctx=2048, group=group)
        assert found.close
        assert found.shape.n_heads == group * found.shape.n_kv_heads
    tiny = shape_near(2e5, vocab=64, n_ctx=64, group=16).shape
    assert tiny.n_kv_heads == 1


def test_tying_is_a_choice_and_counts_in_the_total() -> None:
    tied = shape_near(1e8, vocab=32000, n_ctx=512, convention="total", tied=True)
    untied = shape_near(1e8, vocab=32000, n_ctx=512, convention="total")
    assert tied.shape.tied
    assert not untied.shape.tied
    assert untied.shape.d_model < tied.shape.d_model or untied.shape.n_layer < tied.shape.n_layer
    assert tied.close
    assert untied.close


@pytest.mark.parametrize("n", [0, -1e6, math.nan, math.inf, 1e21, True])
def test_numbers_that_are_no_size_are_refused(n: float) -> None:
    with pytest.raises(InputError, match="number of parameters"):
        shape_near(n, vocab=256, n_ctx=64)


def test_other_wrong_calls_are_refused() -> None:
    with pytest.raises(InputError, match="modern, gpt2"):
        shape_near(1e6, vocab=256, n_ctx=64, style="gpt3")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="group"):
        shape_near(1e6, vocab=256, n_ctx=64, group=0)
    with pytest.raises(InputError, match="vocab"):
        shape_near(1e6, vocab=0, n_ctx=64)
    with pytest.raises(InputError, match="no parameter count"):
        shape_near(1e6, vocab=256, n_ctx=64, convention="unknown")
