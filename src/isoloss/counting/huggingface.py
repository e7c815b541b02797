"""Reading a shape from a file: our own JSON, or the config.json of a Hugging Face checkpoint.

The file is read as JSON and nothing in it is executed or imported. What a config.json leaves out
means what it means to the `transformers` package, except that the sizes a count rests on (layers,
widths, heads, vocabulary) must be there: a default in their place would be another model's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from isoloss.counting.shape import Shape
from isoloss.errors import InputError

_MIXED = (
    "mixes layers of full and of sliding-window attention, which is not counted here; "
    "set use_sliding_window to false, or sliding_window to null, to count all layers as full"
)


def read_config(path: str | PathLike[str]) -> Shape:
    """Read a Shape from a JSON file: our own `Shape.to_dict()`, or a Hugging Face config.json.

    path: the file, or a folder that holds a config.json.
    The model types understood are in MODEL_TYPES; n_ctx is the longest context the file allows,
    which for recent models is far more than they were mostly trained with: replace it to count
    FLOPs at another (`dataclasses.replace(shape, n_ctx=4096)`).
    Raises InputError, one line with the file's name, if it is missing, is not JSON, is of another
    model type, lacks a size, or mixes kinds of layers in one model.
    Source: the configuration classes of transformers 5.23 and the models built from them.
    """
    file = Path(path)
    if file.is_dir():
        file = file / "config.json"
    try:
        return _shape(_read_json(file))
    except InputError as error:
        raise InputError(f"{file}: {error}") from None


def _read_json(file: Path) -> dict[str, Any]:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("no such file; give a config.json or a folder with one") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        # Not UTF-8 and not JSON are both ValueErrors.
        raise InputError(f"is not a JSON file ({error})") from None
    if not isinstance(values, dict):
        raise InputError("is JSON, but not an object with the fields of a model")
    return values


def _shape(values: dict[str, Any]) -> Shape:
    if "model_type" not in values:
        if "n_layer" in values and "d_model" in values:
            return Shape.from_dict(values)
        raise InputError(
            "names no model_type and is no shape of ours (n_layer, d_model, n_heads, vocab, n_ctx)"
        )
    model_type = values["model_type"]
    if not isinstance(model_type, str) or model_type not in _READERS:
        raise InputError(
            f"model_type {model_type!r} is not one that can be counted: {', '.join(MODEL_TYPES)}"
        )
    return _READERS[model_type](_Config(values))


@dataclass(frozen=True)
class _Config:
    """The fields of a config.json, with messages in its own words."""

    values: Mapping[str, Any]

    def size(self, *names: str, default: int | None = None) -> int:
        """The whole number under the first of the names that is there and not null."""
        for name in names:
            value = self.values.get(name)
            if value is not None:
                if isinstance(value, bool) or not isinstance(value, int):
                    raise InputError(f"{name} is {value!r}: it must be a whole number")
                return value
        if default is None:
            raise InputError(f"gives no {names[0]}, which the count needs")
        return default

    def flag(self, name: str, default: bool) -> bool:
        """The true or false under the name, or the default where it is absent."""
        value = self.values.get(name)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise InputError(f"{name} is {value!r}: it must be true or false")
        return value

    def kv_heads(self, absent: int | None) -> int:
        """Key-value heads: `absent` where the field is (None: as many as heads), heads for null."""
        heads = self.size("num_attention_heads")
        if "num_key_value_heads" not in self.values and absent is not None:
            return absent
        return self.size("num_key_value_heads", default=heads)

    def d_attn(self, head_size: int | None = None) -> int:
        """Width of all heads: from head_dim, else from head_size, else the width of the model."""
        heads, width = self.size("num_attention_heads"), self.size("hidden_size")
        if heads < 1:
            raise InputError(f"num_attention_heads is {heads}: it must be at least 1")
        default = width // heads if head_size is None else head_size
        return heads * self.size("head_dim", default=default)

    def window(self, absent: int = 0, full_layers: int | None = None) -> int:
        """The sliding window of all layers, 0 for none.

        absent: the window where the field is missing (null is none); full_layers: how many full
        layers come first where max_window_layers is missing, None if that field means nothing.
        """
        missing = "sliding_window" not in self.values
        window = absent if missing else self.size("sliding_window", default=0)
        kinds = self.values.get("layer_types")
        if kinds is None:
            layers = self.size("num_hidden_layers")
            full = 0
            if full_layers is not None:
                full = min(layers, self.size("max_window_layers", default=full_layers))
            kinds = ["full_attention"] * full + ["sliding_attention"] * (layers - full)
        if not isinstance(kinds, list):
            raise InputError(f"layer_types is {kinds!r}: it must be a list")
        if not window or "sliding_attention" not in kinds:
            return 0
        if any(kind != "sliding_attention" for kind in kinds):
            raise InputError(_MIXED)
        return window


def _gpt2(config: _Config) -> Shape:
    if config.flag("add_cross_attention", False):
        raise InputError("has cross-attention, so it is no decoder-only model")
    width = config.size("n_embd", "hidden_size")
    return Shape(
        n_layer=config.size("n_layer", "num_hidden_layers"),
        d_model=width,
        n_heads=config.size("n_head", "num_attention_heads"),
        vocab=config.size("vocab_size"),
        n_ctx=config.size("n_positions", "max_position_embeddings", default=1024),
        d_ff=config.size("n_inner", default=4 * width),
        tied=config.flag("tie_word_embeddings", True),
    )


def _gpt_neox(config: _Config) -> Shape:
    attention_bias = config.flag("attention_bias", True)
    return Shape(
        n_layer=config.size("num_hidden_layers"),
        d_model=config.size("hidden_size"),
        n_heads=config.size("num_attention_heads"),
        vocab=config.size("vocab_size"),
        n_ctx=config.size("max_position_embeddings", default=2048),
        d_ff=config.size("intermediate_size"),
        positions="rotary",
        tied=config.flag("tie_word_embeddings", False),
        qkv_bias=attention_bias,
        out_bias=attention_bias,
    )


def _llama_like(
    config: _Config,
    *,
    n_ctx: int,
    kv_heads: int | None = None,
    head_size: int | None = None,
    d_ff: str = "intermediate_size",
    **more: Any,
) -> Shape:
    """What Llama and its descendants share: RMSNorm, rotary positions, a gated feed-forward."""
    common: dict[str, Any] = {
        "n_layer": config.size("num_hidden_layers"),
        "d_model": config.size("hidden_size"),
        "n_heads": config.size("num_attention_heads"),
        "vocab": config.size("vocab_size"),
        "n_ctx": config.size("max_position_embeddings", default=n_ctx),
        "d_ff": config.size(d_ff),
        "d_attn": config.d_attn(head_size),
        "n_kv_heads": config.kv_heads(kv_heads),
        "gated": True,
        "norm": "rmsnorm",
        "positions": "rotary",
        "tied": config.flag("tie_word_embeddings", False),
        "bias": False,
    }
    return Shape(**(common | more))


def _attention_bias(config: _Config) -> dict[str, Any]:
    bias = config.flag("attention_bias", False)
    return {"qkv_bias": bias, "out_bias": bias}


def _llama(config: _Config) -> Shape:
    bias = config.flag("mlp_bias", False)
    return _llama_like(config, n_ctx=2048, bias=bias, **_attention_bias(config))


def _mistral(config: _Config) -> Shape:
    return _llama_like(config, n_ctx=131072, kv_heads=8, window=config.window(absent=4096))


def _mixtral(config: _Config) -> Shape:
    return _llama_like(
        config,
        n_ctx=131072,
        kv_heads=8,
        window=config.window(),
        n_experts=config.size("num_local_experts", "num_experts"),
        n_active_experts=config.size("num_experts_per_tok"),
    )


def _olmoe(config: _Config) -> Shape:
    return _llama_like(
        config,
        n_ctx=4096,
        qk_norm="full",
        n_experts=config.size("num_experts", "num_local_experts"),
        n_active_experts=config.size("num_experts_per_tok"),
        **_attention_bias(config),
    )


def _qwen_window(config: _Config, full_layers: int | None) -> int:
    if not config.flag("use_sliding_window", False):
        return 0
    return config.window(absent=4096, full_layers=full_layers)


def _qwen2(config: _Config) -> Shape:
    window = _qwen_window(config, 28)
    return _llama_like(config, n_ctx=32768, kv_heads=32, qkv_bias=True, window=window)


def _qwen3(config: _Config) -> Shape:
    return _llama_like(
        config,
        n_ctx=32768,
        kv_heads=32,
        head_size=128,
        qk_norm="head",
        window=_qwen_window(config, 28),
        **_attention_bias(config),
    )


def _qwen_experts(config: _Config) -> dict[str, Any]:
    if config.size("decoder_sparse_step", default=1) != 1 or config.values.get("mlp_only_layers"):
        raise InputError("mixes dense layers and layers of experts, which is not counted here")
    return {
        "n_experts": config.size("num_experts", "num_local_experts"),
        "n_active_experts": config.size("num_experts_per_tok"),
    }


def _qwen2_moe(config: _Config) -> Shape:
    if config.flag("use_sliding_window", False) and config.values.get("layer_types") is None:
        # To transformers this means every other layer.
        raise InputError(_MIXED)
    return _llama_like(
        config,
        n_ctx=32768,
        kv_heads=16,
        d_ff="moe_intermediate_size",
        d_ff_shared=config.size("shared_expert_intermediate_size"),
        qkv_bias=config.flag("qkv_bias", True),
        window=_qwen_window(config, None),
        **_qwen_experts(config),
    )


def _qwen3_moe(config: _Config) -> Shape:
    return _llama_like(
        config,
        n_ctx=32768,
        kv_heads=4,
        d_ff="moe_intermediate_size",
        qk_norm="head",
        window=_qwen_window(config, None),
        **_attention_bias(config),
        **_qwen_experts(config),
    )


_READERS: dict[str, Callable[[_Config], Shape]] = {
    "gpt2": _gpt2,
    "gpt_neox": _gpt_neox,
    "llama": _llama,
    "mistral": _mistral,
    "mixtral": _mixtral,
    "olmoe": _olmoe,
    "qwen2": _qwen2,
    "qwen2_moe": _qwen2_moe,
    "qwen3": _qwen3,
    "qwen3_moe": _qwen3_moe,
}

MODEL_TYPES: tuple[str, ...] = tuple(_READERS)
"""The `model_type` values of config.json that `read_config` understands."""
