"""The shape of a language model: every number that decides its size and its cost.

The decoder-only transformer, and the two models Kaplan et al. 2020 held it against: the recurrent
transformer, which applies its layers several times over, and the LSTM. A transformer's widths are
independent of each other, as in their table 1; what is left out follows from the width. Counting
only: nothing here builds a model.

Notation: d_model residual width, d_attn = n_heads * head size, d_ff feed-forward width
(of one expert, where there are experts), n_ctx tokens of context.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from isoloss.errors import InputError

Kind = Literal["transformer", "lstm"]
Norm = Literal["layernorm", "rmsnorm"]
Positions = Literal["learned", "rotary", "relative", "none"]
QKNorm = Literal["none", "head", "full"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "kind": get_args(Kind),
    "norm": get_args(Norm),
    "positions": get_args(Positions),
    "qk_norm": get_args(QKNorm),
}
_REQUIRED = ("n_layer", "d_model", "n_heads", "vocab", "n_ctx")
_FLAGS = ("gated", "tied", "bias", "qkv_bias", "out_bias")
_NON_NEGATIVE = ("n_experts", "n_active_experts", "d_ff_shared", "window")
_LATER: dict[str, Any] = {"kind": "transformer", "reuse": 1}
"""Fields of a later date, left out of the plain form at these values: run names hash that form."""
_LSTM_FIELDS = ("kind", "n_layer", "d_model", "vocab", "n_ctx", "tied", "bias")
_NOT_LSTM: dict[str, Any] = {
    **dict.fromkeys(("n_heads", "d_ff", "d_attn", "n_kv_heads", *_NON_NEGATIVE), 0),
    **dict.fromkeys(("gated", "qkv_bias", "out_bias"), False),
    **dict.fromkeys(("positions", "qk_norm"), "none"),
    "norm": "layernorm",
    "reuse": 1,
}
"""What an LSTM has in place of each field that means nothing for it."""
_MOST = 10**9  # no width, depth or context comes near it: beyond lie typing errors


@dataclass(frozen=True)
class Shape:
    """A decoder-only transformer, pre-norm, with one norm before the head; or an LSTM.

    n_layer: layers; d_model: residual width; n_heads: query heads; vocab: rows of the token
    embedding; n_ctx: context in tokens.
    d_ff: feed-forward width, of each expert where there are experts (default 4 * d_model).
    d_attn: width of all query heads together (default d_model).
    n_kv_heads: key and value heads, fewer than n_heads in grouped-query attention.
    gated: a feed-forward of three matrices (SwiGLU and its kin) in place of two.
    positions: `learned`, the default, has an embedding of n_ctx rows; `rotary` and `none` have no
    parameters; `relative` is Transformer-XL's: each layer has a d_model x d_attn projection and
    two d_attn vectors more.
    tied: the head is the token embedding, transposed.
    bias: biases in the feed-forward and in LayerNorm; qkv_bias and out_bias (default: as bias)
    say the same of the query-key-value and the output projections. The head has no bias.
    qk_norm: a norm on queries and keys, over each `head` (one scale shared by the heads) or over
    the `full` width.
    n_experts: experts per layer, 0 for a dense feed-forward; n_active_experts: of these, how many
    one token uses; d_ff_shared: width of a further expert that every token uses, with its own
    d_model -> 1 gate, 0 for none.
    window: how many tokens attention looks back over, 0 for all of the context.
    kind: `lstm` is the LSTM of `Shape.lstm`: of the fields above it has n_layer, d_model, vocab,
    n_ctx, tied and bias alone, and n_heads is 0.
    reuse: how many times over the n_layer layers are applied, with the same parameters: above 1
    a recurrent ("universal") transformer.

    Every None is resolved on construction, so `dataclasses.replace(shape, d_model=64)` keeps
    the d_ff and d_attn of the old width unless they are given too.
    Raises InputError naming the field, its value and the rule it breaks.
    """

    n_layer: int
    d_model: int
    n_heads: int
    vocab: int
    n_ctx: int
    # None at the call, an int ever after: readers of a Shape never meet the None.
    d_ff: int = None  # type: ignore[assignment]
    d_attn: int = None  # type: ignore[assignment]
    n_kv_heads: int = None  # type: ignore[assignment]
    gated: bool = False
    norm: Norm = "layernorm"
    positions: Positions = None  # type: ignore[assignment]
    tied: bool = True
    bias: bool = True
    qkv_bias: bool = None  # type: ignore[assignment]
    out_bias: bool = None  # type: ignore[assignment]
    qk_norm: QKNorm = "none"
    n_experts: int = 0
    n_active_experts: int = 0
    d_ff_shared: int = 0
    window: int = 0
    kind: Kind = "transformer"
    reuse: int = 1

    def __post_init__(self) -> None:
        self._check_choice("kind")
        lstm = self.kind == "lstm"
        for name in _REQUIRED:
            self._check_integer(name, 0 if lstm and name == "n_heads" else 1)
        defaults = {
            "d_ff": 4 * self.d_model,
            "d_attn": self.d_model,
            "n_kv_heads": self.n_heads,
            "positions": "learned",
            "qkv_bias": self.bias,
            "out_bias": self.bias,
        }
        for name, value in defaults.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, _NOT_LSTM[name] if lstm else value)
        for name in ("d_ff", "d_attn", "n_kv_heads"):
            self._check_integer(name, 0 if lstm else 1)
        for name in _NON_NEGATIVE:
            self._check_integer(name, 0)
        self._check_integer("reuse", 1)
        for name in _FLAGS:
            if not isinstance(getattr(self, name), bool):
                raise InputError(f"{name} is {getattr(self, name)!r}: it must be true or false")
        for name in _CHOICES:
            self._check_choice(name)
        if lstm:
            self._check_lstm()
        else:
            self._check_rules()

    def _check_choice(self, name: str) -> None:
        if getattr(self, name) not in _CHOICES[name]:
            raise InputError(
                f"{name} is {getattr(self, name)!r}: it must be one of {', '.join(_CHOICES[name])}"
            )

    def _check_integer(self, name: str, least: int) -> None:
        value = getattr(self, name)
        try:
            if isinstance(value, bool):
                raise TypeError
            value = operator.index(value)
        except TypeError:
            raise InputError(f"{name} is {value!r}: it must be a whole number") from None
        if value < least:
            raise InputError(f"{name} is {value}: it must be at least {least}")
        if value > _MOST:
            raise InputError(f"{name} is {min(value, 10**300):.3g}: it must be at most {_MOST:g}")
        object.__setattr__(self, name, value)

    def _check_lstm(self) -> None:
        for name, none in _NOT_LSTM.items():
            if getattr(self, name) != none:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}: an LSTM has no such thing; "
                    f"leave it out, or give {none!r}"
                )

    def _check_rules(self) -> None:
        if self.d_attn % self.n_heads:
            raise InputError(
                f"d_attn is {self.d_attn}: it must be a multiple of n_heads, {self.n_heads}"
            )
        if self.n_heads % self.n_kv_heads:
            raise InputError(
                f"n_kv_heads is {self.n_kv_heads}: it must divide n_heads, {self.n_heads}"
            )
        if self.n_experts and not 1 <= self.n_active_experts <= self.n_experts:
            raise InputError(
                f"n_active_experts is {self.n_active_experts}: "
                f"it must be between 1 and n_experts, {self.n_experts}"
            )
        if not self.n_experts and (self.n_active_experts or self.d_ff_shared):
            name = "n_active_experts" if self.n_active_experts else "d_ff_shared"
            raise InputError(f"{name} is {getattr(self, name)}: it must be 0 where n_experts is 0")

    @property
    def head_size(self) -> int:
        """Width of one attention head: d_attn / n_heads; 0 where there are none."""
        return self.d_attn // max(1, self.n_heads)

    @property
    def d_kv(self) -> int:
        """Width of all keys, and of all values: n_kv_heads * head_size."""
        return self.n_kv_heads * self.head_size

    @property
    def attended(self) -> int:
        """Tokens one token attends to, not halved for causality: n_ctx, or a smaller window."""
        return min(self.n_ctx, self.window) if self.window else self.n_ctx

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON values, all of them resolved.

        An LSTM has only its own; kind and reuse are left out of a plain transformer's.
        """
        names = _LSTM_FIELDS if self.kind == "lstm" else [field.name for field in fields(self)]
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value != _LATER.get(name)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Shape:
        """Build a Shape from a mapping of its fields; absent ones take their defaults.

        Raises InputError on what is no mapping, an unknown key (with the nearest known one) or a
        missing one.
        """
        if not isinstance(values, Mapping):
            raise InputError(f"a shape is {values!r}: it must be a table of its fields")
        known = [field.name for field in fields(cls)]
        for key in values:
            if key not in known:
                import difflib  # for the message alone: slow to import

                near = difflib.get_close_matches(str(key), known, n=1, cutoff=0.0)
                raise InputError(f"a shape has no field {key!r}; the nearest is {near[0]!r}")
        given = dict(values)
        if given.get("kind") == "lstm":
            given.setdefault("n_heads", 0)
        missing = [name for name in _REQUIRED if name not in given]
        if missing:
            raise InputError(f"a shape needs {', '.join(missing)}, which is not given")
        return cls(**given)

    @classmethod
    def lstm(
        cls,
        n_layer: int,
        d_model: int,
        vocab: int,
        n_ctx: int,
        *,
        tied: bool = True,
        bias: bool = True,
    ) -> Shape:
        """Build the shape of a stack of LSTM layers between an embedding and a head.

        n_layer: layers, one above the other. d_model: width of the embedding, of every layer's
        cell and of its output, which is what the head sees; no projections, no norms.
        vocab: rows of the token embedding. n_ctx: tokens it is trained on at a time, each from an
        empty state. tied: the head is the token embedding. bias: two vectors for each of the four
        gates of a layer, as in torch's `nn.LSTM`: one beside the input's matrix, one beside the
        state's.
        Returns Shape, of kind `lstm`. Raises InputError as Shape does.
        Source: Hochreiter and Schmidhuber 1997; Gers et al. 2000 (forget gate); Kaplan et al.
        2020, figure 7, which does not say more than the number of layers.
        """
        return cls(n_layer, d_model, 0, vocab, n_ctx, tied=tied, bias=bias, kind="lstm")
