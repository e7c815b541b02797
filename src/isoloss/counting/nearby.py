"""A concrete shape near a wanted number of parameters.

A law's best size is any number; a model has whole layers, and widths that heads and hardware like.
Depth follows width as in Hoffmann et al. 2022, table A9: n_layer = 16.7 (d_model / 1024) ** 0.67,
so d_model / n_layer rises slowly with size: about 40 at a width of 256, 130 at one of 10,000.
An LSTM's layers are given, as in Kaplan et al. 2020, and its width follows from n.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from isoloss.counting.parameters import NConvention, count_params
from isoloss.counting.shape import Shape
from isoloss.errors import InputError

Style = Literal["modern", "gpt2"]

CLOSE = 0.02
"""A shape within this fraction of the parameters asked for is near them."""

_LAYERS_AT_1024, _DEPTH_EXPONENT = 16.7, 0.67
_FEWEST_LAYERS = 2
_STEPS = ((8, 256), (64, 2048), (128, 8192), (256, 16384), (512, 1 << 20))
"""Widths are multiples of the first below the second."""
_HEAD_SIZES = (128, 64, 32, 16, 8)
_WIDE = {"modern": 8 / 3, "gpt2": 4.0}
_STRETCH = 0.12
"""How far a gated feed-forward may leave 8/3 of the width, so that n comes out right."""
_OFF_TREND = 3.0
_LSTM_STEPS = (128, 64, 32, 16, 8, 4, 2, 1)
_MOST = 1e15


@dataclass(frozen=True)
class Nearby:
    """A shape and how near it is.

    n: its parameters, counted as asked. asked: parameters. off: n / asked - 1.
    """

    shape: Shape
    n: int
    asked: float
    off: float

    @property
    def close(self) -> bool:
        """Whether n lies within 2 % of what was asked."""
        return abs(self.off) <= CLOSE


@dataclass(frozen=True)
class _Width:
    """All shapes of one width: n(layers, k) is `here` at two layers and the usual feed-forward.

    per_layer: parameters of a layer more. per_step: of a step more of one layer's feed-forward.
    """

    shape: Shape
    usual_depth: float
    step: int
    here: int
    per_layer: int
    per_step: int

    def count(self, layers: int, k: int) -> int:
        more = (layers - _FEWEST_LAYERS) * self.per_layer
        return self.here + more + layers * k * self.per_step

    def depth(self, n: float) -> float:
        """The layers, not rounded, that give n."""
        return _FEWEST_LAYERS + (n - self.here) / self.per_layer


@dataclass(frozen=True)
class _Candidate:
    """So many layers of a width, k steps more of feed-forward: its parameters and its strain."""

    width: _Width
    layers: int
    k: int
    off: float
    strain: float


def shape_near(
    n: float,
    *,
    vocab: int,
    n_ctx: int,
    style: Style = "modern",
    convention: NConvention = "non_embedding_plus_head",
    group: int = 1,
    tied: bool | None = None,
) -> Nearby:
    """Find a sensible shape of about n parameters.

    Widths are multiples of 8 below 256, of 64 below 2048, then of 128 and more; heads have at most
    sqrt(8 d_model) numbers, 128 at most; two layers at least. Of the shapes within 2 % of n, or
    else of those nearest to it, the one whose depth and feed-forward are most usual.
    n: parameters, counted by `convention`. vocab, n_ctx: tokens. style: `gpt2` (LayerNorm, biases,
    learned positions, GELU of 4 d_model, tied) or `modern` (RMSNorm, no biases, rotary, SwiGLU of
    about 8/3 d_model, untied). group: query heads for each key-value head; widths with another
    number of heads are left out, those with fewer heads have one. tied: the head is the embedding.
    Returns Nearby, which says how far off it is: a large vocabulary leaves no small shape.
    Raises InputError for a number, a style or a convention that is none.
    Source: Hoffmann et al. 2022, table A9, for depth against width (our regression of its 50
    models, which scatter by 13 %); Touvron et al. 2023 for 8/3. Left out: what hardware prefers
    beyond these multiples.
    """
    _check(n, style, group)
    fixed: dict[str, Any] = {"vocab": vocab, "n_ctx": n_ctx}
    fixed |= _style_fields(style)
    if tied is not None:
        fixed["tied"] = tied
    found: list[_Candidate] = []
    for d_model in _widths():
        usual = max(float(_FEWEST_LAYERS), usual_depth(d_model))
        if n > d_model * (2 * vocab + n_ctx + 24 * d_model * _OFF_TREND * usual):
            continue  # far too narrow: a layer has 12 d_model ** 2 or so
        width = _width(d_model, usual, group, style, convention, fixed)
        if width is None:
            continue
        depth = width.depth(n)
        if found and depth < usual / _OFF_TREND:
            break
        if depth > usual * _OFF_TREND and depth > _FEWEST_LAYERS + 1:
            continue
        for layers in {max(_FEWEST_LAYERS, math.floor(depth) + k) for k in (0, 1)}:
            found.append(_candidate(width, layers, n))
    near = [one for one in found if abs(one.off) <= CLOSE]
    if near:
        best = min(near, key=lambda one: one.strain)
    else:
        best = min(found, key=lambda one: abs(math.log1p(one.off)))
    shape = best.width.shape
    d_ff = shape.d_ff + best.k * best.width.step
    count = best.width.count(best.layers, best.k)
    return Nearby(replace(shape, n_layer=best.layers, d_ff=d_ff), count, float(n), best.off)


def lstm_near(
    n: float,
    *,
    n_layer: int,
    vocab: int,
    n_ctx: int,
    convention: NConvention = "non_embedding",
    tied: bool = True,
    bias: bool = True,
) -> Nearby:
    """Find the LSTM of so many layers that has about n parameters, to hold against a transformer.

    Its width is the multiple of 128 or else the largest power of two that brings it within 2 % of
    n, or the width nearest to n where none does: counted without its embedding, n is 8 n_layer
    d_model ** 2, and a width has no more to turn.
    n: parameters, counted by `convention`, the transformer's by the same. n_layer: 1, 2 and 4 in
    Kaplan's figure 7. vocab, n_ctx, tied, bias: as in `Shape.lstm`.
    Returns Nearby. Raises InputError for a number or a convention that is none.
    Source: Kaplan et al. 2020, figure 7.
    """
    _check(n)

    def count(d_model: int) -> int:
        shape = Shape.lstm(n_layer, d_model, vocab, n_ctx, tied=tied, bias=bias)
        return count_params(shape, convention)

    below, above = 1, 2
    while count(above) <= n:
        below, above = above, 2 * above
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (middle, above) if count(middle) <= n else (below, middle)
    for step in _LSTM_STEPS:
        widths = [max(step, below // step * step + more) for more in (0, step)]
        d_model = min(widths, key=lambda width: abs(count(width) / n - 1))
        off = count(d_model) / n - 1
        if abs(off) <= CLOSE:
            break
    shape = Shape.lstm(n_layer, d_model, vocab, n_ctx, tied=tied, bias=bias)
    return Nearby(shape, count(d_model), float(n), off)


def usual_depth(d_model: float) -> float:
    """Return the layers that models of a width have: 16.7 (d_model / 1024) ** 0.67.

    d_model: residual width. Returns layers, not rounded.
    Source: our regression of ln n_layer on ln d_model over Hoffmann et al. 2022, table A9.
    """
    return float(_LAYERS_AT_1024 * (d_model / 1024) ** _DEPTH_EXPONENT)


def _check(n: float, style: str = "modern", group: int = 1) -> None:
    if isinstance(n, bool) or not (math.isfinite(n) and 0 < n <= _MOST):
        raise InputError(f"n is {n!r}: give a number of parameters above 0, at most {_MOST:g}")
    if style not in get_args(Style):
        raise InputError(f"style is {style!r}: it must be one of {', '.join(get_args(Style))}")
    if isinstance(group, bool) or group != int(group) or group < 1:
        raise InputError(f"group is {group!r}: it must be a whole number of query heads")


def _style_fields(style: Style) -> dict[str, Any]:
    if style == "gpt2":
        return {}
    return {
        "gated": True,
        "norm": "rmsnorm",
        "positions": "rotary",
        "tied": False,
        "bias": False,
    }


def _widths() -> Iterator[int]:
    width = 8
    for step, below in _STEPS:
        while width < below:
            yield width
            width += step


def _width(
    d_model: int,
    usual: float,
    group: int,
    style: Style,
    convention: NConvention,
    fixed: dict[str, Any],
) -> _Width | None:
    """One width with its heads and feed-forward, None if its heads fall into no groups.

    The heads are the largest that divide the width and are no larger than sqrt(8 d_model).
    """
    largest = _largest_head(d_model)
    head = next(h for h in _HEAD_SIZES if d_model % h == 0 and h <= largest)
    heads = d_model // head
    if heads > group and heads % group:
        return None
    step = _ff_step(d_model)
    shape = Shape(
        n_layer=_FEWEST_LAYERS,
        d_model=d_model,
        n_heads=heads,
        n_kv_heads=max(1, heads // group),
        d_ff=max(step, round(_WIDE[style] * d_model / step) * step),
        **fixed,
    )
    # Counts are lines in the layers, and in the feed-forward of one layer.
    here = count_params(shape, convention)
    deeper = count_params(replace(shape, n_layer=_FEWEST_LAYERS + 1), convention)
    wider = count_params(replace(shape, d_ff=shape.d_ff + step), convention)
    per_step = (wider - here) // _FEWEST_LAYERS
    return _Width(shape, usual, step, here, deeper - here, per_step)


def _largest_head(d_model: int) -> int:
    return next(h for h in _HEAD_SIZES if h * h <= 8 * d_model)


def _ff_step(d_model: int) -> int:
    """Small enough that one step changes n by 3 % at most."""
    return 8 if d_model < 256 else 32 if d_model < 1024 else 64


def _candidate(width: _Width, layers: int, n: float) -> _Candidate:
    """So many layers, with the feed-forward that comes nearest to n where it may be stretched.

    Strain is 1 at twice or half the usual depth, at 4 % of n, at 20 % of the feed-forward, and at
    heads of a sixteenth of the size they might have.
    """
    shape, k = width.shape, 0
    wide = _WIDE["modern" if shape.gated else "gpt2"] * shape.d_model
    if shape.gated:
        low = math.ceil(((1 - _STRETCH) * wide - shape.d_ff) / width.step)
        high = math.floor(((1 + _STRETCH) * wide - shape.d_ff) / width.step)
        if low <= high:  # else the width has one feed-forward alone
            nearest = round((n - width.count(layers, 0)) / (layers * width.per_step))
            k = min(max(nearest, low), high)
    off = width.count(layers, k) / float(n) - 1
    strain = abs(math.log(layers / width.usual_depth)) / math.log(2)
    strain += abs(off) / (2 * CLOSE) + abs((shape.d_ff + k * width.step) / wide - 1) / 0.2
    strain += math.log2(_largest_head(shape.d_model) / shape.head_size) / 4
    return _Candidate(width, layers, k, off, strain)
