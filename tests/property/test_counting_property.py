"""Counts on shapes drawn at random, against a list of every tensor; the cost of a family."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoloss.counting import (
    Shape,
    active_matrices,
    count_params,
    family_cost,
    flops_per_token,
    params_by_group,
)
from isoloss.errors import InputError


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    if draw(st.integers(0, 5)) == 0:
        return Shape.lstm(
            draw(st.integers(1, 6)),
            draw(st.integers(1, 40)),
            draw(st.integers(1, 500)),
            draw(st.integers(1, 70)),
            tied=draw(st.booleans()),
            bias=draw(st.booleans()),
        )
    kv_heads = draw(st.integers(1, 4))
    heads = kv_heads * draw(st.integers(1, 3))
    experts = draw(st.integers(0, 5))
    flags = {name: draw(st.booleans()) for name in ("gated", "tied", "bias", "qkv_bias")}
    return Shape(
        n_layer=draw(st.integers(1, 6)),
        d_model=draw(st.integers(1, 40)),
        n_heads=heads,
        vocab=draw(st.integers(1, 500)),
        n_ctx=draw(st.integers(1, 70)),
        d_ff=draw(st.integers(1, 90)),
        d_attn=heads * draw(st.integers(1, 9)),
        n_kv_heads=kv_heads,
        norm=draw(st.sampled_from(["layernorm", "rmsnorm"])),
        positions=draw(st.sampled_from(["learned", "rotary", "relative", "none"])),
        out_bias=draw(st.booleans()),
        qk_norm=draw(st.sampled_from(["none", "head", "full"])),
        n_experts=experts,
        n_active_experts=draw(st.integers(1, experts)) if experts else 0,
        d_ff_shared=draw(st.integers(0, 20)) if experts else 0,
        window=draw(st.integers(0, 90)),
        reuse=draw(st.sampled_from([1, 1, 2, 5])),
        **flags,
    )


def tensors(s: Shape, experts: int) -> list[tuple[int, ...]]:
    """Every tensor of a model of this shape, with so many of its experts: a second count."""

    def mlp(width: int) -> list[tuple[int, ...]]:
        inward = 2 if s.gated else 1
        matrices: list[tuple[int, ...]] = [(width, s.d_model)] * inward + [(s.d_model, width)]
        return matrices + ([(width,)] * inward + [(s.d_model,)] if s.bias else [])

    if s.kind == "lstm":
        gates = [(4 * s.d_model, s.d_model)] * 2 + ([(4 * s.d_model,)] * 2 if s.bias else [])
        return gates * s.n_layer + [(s.vocab, s.d_model)] * (1 if s.tied else 2)
    norm: list[tuple[int, ...]] = [(s.d_model,)]
    if s.norm == "layernorm" and s.bias:
        norm = norm * 2
    head = s.d_attn // s.n_heads
    kv = s.n_kv_heads * head
    layer: list[tuple[int, ...]] = norm * 2
    layer += [(s.d_attn, s.d_model), (kv, s.d_model), (kv, s.d_model), (s.d_model, s.d_attn)]
    layer += [(s.d_attn,), (kv,), (kv,)] if s.qkv_bias else []
    layer += [(s.d_model,)] if s.out_bias else []
    layer += {"none": [], "head": [(head,), (head,)], "full": [(s.d_attn,), (kv,)]}[s.qk_norm]
    if s.positions == "relative":
        layer += [(s.d_attn, s.d_model), (s.n_heads, head), (s.n_heads, head)]
    if s.n_experts:
        layer += [(s.n_experts, s.d_model), *mlp(s.d_ff) * experts]
        layer += [*mlp(s.d_ff_shared), (1, s.d_model)] if s.d_ff_shared else []
    else:
        layer += mlp(s.d_ff)
    ends: list[tuple[int, ...]] = [(s.vocab, s.d_model), *norm]
    ends += [(s.n_ctx, s.d_model)] if s.positions == "learned" else []
    ends += [] if s.tied else [(s.vocab, s.d_model)]
    return layer * s.n_layer + ends


@settings(max_examples=200, deadline=None, derandomize=True)
@given(shapes())
def test_counts_agree_with_a_list_of_tensors(shape: Shape) -> None:
    def numel(experts: int) -> int:
        return sum(math.prod(size) for size in tensors(shape, experts))

    assert sum(params_by_group(shape).values()) == numel(shape.n_experts)
    assert count_params(shape, "total") == numel(shape.n_experts)
    assert count_params(shape, "active") == numel(shape.n_active_experts)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(shapes())
def test_exact_flops_are_six_per_matrix_entry_and_the_products(shape: Shape) -> None:
    products = 3 if shape.positions == "relative" else 2
    attention = 6 * products * shape.n_layer * shape.reuse * shape.attended * shape.d_attn
    head = 6 * shape.vocab * shape.d_model
    assert flops_per_token(shape) == 6 * active_matrices(shape) + head + attention
    assert flops_per_token(shape, "6nd") <= flops_per_token(shape)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(shapes())
def test_the_plain_form_comes_back(shape: Shape) -> None:
    assert Shape.from_dict(shape.to_dict()) == shape
    assert dataclasses.replace(shape) == shape


def widths(*values: int, layers: int = 3) -> list[Shape]:
    return [Shape(layers, width, 1, 256, 128) for width in values]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(shapes(), min_size=1, max_size=9), st.floats(1.0, 9.0), st.floats(1.01, 3.0))
def test_cost_of_any_family_rises_and_is_positive(
    family: list[Shape], start: float, ratio: float
) -> None:
    cost = family_cost(family)
    at = cost(10.0**start * ratio ** np.arange(12))
    assert np.all(at > 0)
    assert np.all(np.diff(at) > 0)


def test_cost_goes_through_the_shapes_in_any_order_and_repeated() -> None:
    family = widths(24, 8, 64, 16, 24)
    cost = family_cost(family)
    for shape in family:
        assert cost(count_params(shape)) == pytest.approx(flops_per_token(shape), rel=1e-12)


def test_cost_between_shapes_is_that_of_the_shape_between() -> None:
    cost = family_cost(widths(8, 16, 32, 64, 128))
    for shape in widths(12, 23, 50, 100):
        assert cost(count_params(shape)) == pytest.approx(flops_per_token(shape), rel=0.02)


def test_cost_has_no_kinks_and_goes_on_straight_outside() -> None:
    family = widths(8, 20, 64)
    cost = family_cost(family)
    step = 1e-4
    for shape in family:
        at = np.log(count_params(shape)) + np.array([-step, 0.0, step])
        left, right = np.diff(np.log(cost(np.exp(at)))) / step
        assert left == pytest.approx(right, abs=1e-3)
    n = count_params(family[-1]) * np.array([1.0, 10.0, 100.0])
    first, second = np.diff(np.log(cost(n)))
    assert first == pytest.approx(second, rel=1e-9)


def test_cost_of_one_shape_is_in_proportion() -> None:
    (shape,) = widths(32)
    n = count_params(shape)
    cost = family_cost([shape])
    assert cost(3.0 * n) == pytest.approx(3.0 * flops_per_token(shape), rel=1e-12)


def test_cost_where_a_wide_shape_costs_less_than_a_smaller_deep_one() -> None:
    deep, wide = Shape(12, 16, 1, 256, 512), Shape(1, 60, 1, 256, 512)
    assert count_params(deep) < count_params(wide)
    assert flops_per_token(deep) > flops_per_token(wide)
    middle = math.sqrt(flops_per_token(deep) * flops_per_token(wide))
    at = math.sqrt(count_params(deep) * count_params(wide))
    assert family_cost([wide, deep])(at) == pytest.approx(middle, rel=1e-12)


def test_cost_keeps_the_shape_of_its_argument_and_the_conventions_asked_for() -> None:
    family = widths(8, 16)
    cost = family_cost(family, "total", "kaplan")
    n = np.full((2, 3), float(count_params(family[1], "total")))
    assert cost(n).shape == (2, 3)
    assert cost(n) == pytest.approx(flops_per_token(family[1], "kaplan"), rel=1e-12)


def test_a_family_without_shapes_is_refused() -> None:
    with pytest.raises(InputError, match="at least one shape"):
        family_cost([])
