"""Reading shapes from files: published checkpoints, our own JSON, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import Shape, count_params, kv_cache_bytes, read_config
from isoloss.errors import InputError

# The fields of published config.json files that decide a size, with the number of parameters
# stored in the checkpoint.
GPT2_XL = {
    "model_type": "gpt2",
    "n_layer": 48,
    "n_embd": 1600,
    "n_head": 25,
    "n_positions": 1024,
    "n_ctx": 1024,
    "vocab_size": 50257,
}
PYTHIA_410M = {
    "model_type": "gpt_neox",
    "num_hidden_layers": 24,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "intermediate_size": 4096,
    "max_position_embeddings": 2048,
    "vocab_size": 50304,
    "tie_word_embeddings": False,
}
LLAMA_7B = {
    "model_type": "llama",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "intermediate_size": 11008,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}
LLAMA_3_8B = LLAMA_7B | {
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "max_position_embeddings": 8192,
}
MISTRAL_7B = LLAMA_7B | {
    "model_type": "mistral",
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "max_position_embeddings": 32768,
    "sliding_window": 4096,
}
MIXTRAL_8X7B = MISTRAL_7B | {
    "model_type": "mixtral",
    "num_local_experts": 8,
    "num_experts_per_tok": 2,
    "sliding_window": None,
}
OLMOE = {
    "model_type": "olmoe",
    "num_hidden_layers": 16,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 1024,
    "num_experts": 64,
    "num_experts_per_tok": 8,
    "vocab_size": 50304,
    "max_position_embeddings": 4096,
}
QWEN2_05B = {
    "model_type": "qwen2",
    "num_hidden_layers": 24,
    "hidden_size": 896,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "intermediate_size": 4864,
    "vocab_size": 151936,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": True,
    "use_sliding_window": False,
    "sliding_window": 32768,
    "max_window_layers": 24,
}
QWEN3_06B = {
    "model_type": "qwen3",
    "num_hidden_layers": 28,
    "hidden_size": 1024,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 3072,
    "vocab_size": 151936,
    "max_position_embeddings": 40960,
    "tie_word_embeddings": True,
    "sliding_window": None,
}
QWEN3_30B_A3B = {
    "model_type": "qwen3_moe",
    "num_hidden_layers": 48,
    "hidden_size": 2048,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
    "head_dim": 128,
    "intermediate_size": 6144,
    "moe_intermediate_size": 768,
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "vocab_size": 151936,
    "mlp_only_layers": [],
    "decoder_sparse_step": 1,
}
QWEN_MOE_27B = {
    "model_type": "qwen2_moe",
    "num_hidden_layers": 24,
    "hidden_size": 2048,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "intermediate_size": 5632,
    "moe_intermediate_size": 1408,
    "shared_expert_intermediate_size": 5632,
    "num_experts": 60,
    "num_experts_per_tok": 4,
    "vocab_size": 151936,
}


def write(folder: Path, values: object) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("values", "total"),
    [
        (GPT2_XL, 1_557_611_200),
        (PYTHIA_410M, 405_334_016),
        (LLAMA_7B, 6_738_415_616),
        (LLAMA_3_8B, 8_030_261_248),
        (MISTRAL_7B, 7_241_732_096),
        (MIXTRAL_8X7B, 46_702_792_704),
        (OLMOE, 6_919_161_856),
        (QWEN2_05B, 494_032_768),
        (QWEN3_06B, 596_049_920),
        (QWEN3_30B_A3B, 30_532_122_624),
        (QWEN_MOE_27B, 14_315_784_192),
    ],
    ids=lambda value: value["model_type"] if isinstance(value, dict) else "",
)
def test_published_checkpoints_have_their_published_size(
    tmp_path: Path, values: dict[str, Any], total: int
) -> None:
    assert count_params(read_config(write(tmp_path, values)), "total") == total


@pytest.mark.parametrize(
    ("values", "billions"),
    [(MIXTRAL_8X7B, 12.9), (OLMOE, 1.3), (QWEN3_30B_A3B, 3.3)],
    ids=["mixtral", "olmoe", "qwen3_moe"],
)
def test_published_mixtures_have_their_active_size(
    tmp_path: Path, values: dict[str, Any], billions: float
) -> None:
    active = count_params(read_config(write(tmp_path, values)), "active")
    assert active / 1e9 == pytest.approx(billions, abs=0.06)


def test_cache_of_a_published_checkpoint(tmp_path: Path) -> None:
    # Half a MiB a token for Llama 7B, an eighth of a MiB for Llama 3 8B.
    assert kv_cache_bytes(read_config(write(tmp_path, LLAMA_7B)), tokens=1) == 2**19
    assert kv_cache_bytes(read_config(write(tmp_path, LLAMA_3_8B)), tokens=1) == 2**17
    assert kv_cache_bytes(read_config(write(tmp_path, MISTRAL_7B))) == 4096 * 2**17


def test_a_folder_stands_for_its_config(tmp_path: Path) -> None:
    path = write(tmp_path, LLAMA_7B)
    assert read_config(tmp_path) == read_config(path) == read_config(str(path))


def test_our_own_shape_is_read_back(tmp_path: Path) -> None:
    shape = Shape(3, 48, 6, 256, 96, d_ff=100, positions="relative", tied=False)
    assert read_config(write(tmp_path, shape.to_dict())) == shape
    short = {"n_layer": 3, "d_model": 48, "n_heads": 6, "vocab": 256, "n_ctx": 96}
    assert read_config(write(tmp_path, short)) == Shape(3, 48, 6, 256, 96)


def test_absent_and_null_fields_mean_what_they_mean_to_transformers(tmp_path: Path) -> None:
    def shape(values: dict[str, Any], **change: object) -> Shape:
        kept = {key: value for key, value in (values | change).items() if value != "absent"}
        return read_config(write(tmp_path, kept))

    assert shape(LLAMA_7B).n_kv_heads == 32
    assert shape(LLAMA_3_8B, num_key_value_heads=None).n_kv_heads == 32
    assert shape(MISTRAL_7B, num_key_value_heads="absent").n_kv_heads == 8
    assert shape(MISTRAL_7B, sliding_window="absent").window == 4096
    assert shape(MISTRAL_7B, sliding_window=None).window == 0
    assert shape(MISTRAL_7B, head_dim=160).d_attn == 32 * 160
    assert shape(QWEN3_06B, head_dim="absent").d_attn == 16 * 128
    assert shape(GPT2_XL, n_inner=None).d_ff == 6400
    assert shape(GPT2_XL, n_inner=700).d_ff == 700
    assert shape(GPT2_XL, tie_word_embeddings=False).tied is False
    assert shape(PYTHIA_410M, max_position_embeddings="absent").n_ctx == 2048


def test_optional_biases_are_read(tmp_path: Path) -> None:
    llama = read_config(write(tmp_path, LLAMA_7B | {"attention_bias": True, "mlp_bias": True}))
    bare = read_config(write(tmp_path, LLAMA_7B))
    added = count_params(llama, "total") - count_params(bare, "total")
    assert added == 32 * (4 * 4096 + 2 * 11008 + 4096)
    neox = read_config(write(tmp_path, PYTHIA_410M | {"attention_bias": False}))
    assert 405_334_016 - count_params(neox, "total") == 24 * 4 * 1024


def test_windows_of_qwen(tmp_path: Path) -> None:
    windowed = QWEN2_05B | {"use_sliding_window": True, "sliding_window": 1024}
    assert read_config(write(tmp_path, windowed)).window == 0
    assert read_config(write(tmp_path, windowed | {"max_window_layers": 0})).window == 1024
    kinds = {"layer_types": ["sliding_attention"] * 24}
    assert read_config(write(tmp_path, windowed | kinds)).window == 1024
    with pytest.raises(InputError, match="mixes layers of full and of sliding-window attention"):
        read_config(write(tmp_path, windowed | {"max_window_layers": 5}))
    with pytest.raises(InputError, match="mixes layers of full and of sliding-window attention"):
        read_config(write(tmp_path, QWEN_MOE_27B | {"use_sliding_window": True}))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"model_type": "mamba"}, "model_type 'mamba' is not one that can be counted: gpt2, "),
        ({"model_type": ["llama"]}, "model_type ['llama'] is not one that can be counted"),
        ({"hidden_size": 8}, "names no model_type and is no shape of ours"),
        ([1, 2], "not an object with the fields of a model"),
        ({"n_layer": 2, "d_model": 8, "width": 3}, "a shape has no field 'width'"),
        (LLAMA_7B | {"hidden_size": None}, "gives no hidden_size, which the count needs"),
        (LLAMA_7B | {"hidden_size": "4096"}, "hidden_size is '4096': it must be a whole number"),
        (LLAMA_7B | {"num_attention_heads": 0}, "num_attention_heads is 0"),
        (LLAMA_7B | {"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no': it must be true"),
        (GPT2_XL | {"add_cross_attention": True}, "it is no decoder-only model"),
        (QWEN3_30B_A3B | {"decoder_sparse_step": 2}, "mixes dense layers and layers of experts"),
        (QWEN3_30B_A3B | {"mlp_only_layers": [0]}, "mixes dense layers and layers of experts"),
        (QWEN2_05B | {"use_sliding_window": True, "layer_types": 1}, "layer_types is 1"),
    ],
)
def test_what_cannot_be_counted_is_refused_in_one_line(
    tmp_path: Path, values: object, words: str
) -> None:
    path = write(tmp_path, values)
    with pytest.raises(InputError) as error:
        read_config(path)
    assert str(error.value).startswith(f"{path}: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_are_no_json_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    with pytest.raises(InputError, match="no such file"):
        read_config(path)
    path.write_text("__import__('os').getcwd()", encoding="utf-8")
    with pytest.raises(InputError, match="is not a JSON file"):
        read_config(path)
    path.write_bytes(b"\xff\xfe{}")
    with pytest.raises(InputError, match="is not a JSON file"):
        read_config(path)
    path.write_text("[" * 200_000, encoding="utf-8")
    with pytest.raises(InputError, match="is not a JSON file"):
        read_config(path)
