"""Counts against models built by the transformers package, without memory for their weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

from isoloss.counting import MODEL_TYPES, count_params, read_config

pytestmark = pytest.mark.full

CHANGES: dict[str, list[dict[str, Any]]] = {
    "gpt2": [{"n_inner": 500}, {"tie_word_embeddings": False}],
    "gpt_neox": [{"attention_bias": False, "tie_word_embeddings": True}],
    "llama": [{"attention_bias": True, "mlp_bias": True, "num_key_value_heads": 4}],
    "mistral": [{"head_dim": 64, "tie_word_embeddings": True}],
    "mixtral": [{"num_local_experts": 3, "head_dim": 64, "num_key_value_heads": 16}],
    "olmoe": [{"num_key_value_heads": 4, "attention_bias": True}],
    "qwen2": [{"num_key_value_heads": 2, "tie_word_embeddings": True}],
    "qwen2_moe": [{"qkv_bias": False, "shared_expert_intermediate_size": 100}],
    "qwen3": [{"head_dim": 64, "attention_bias": True}],
    "qwen3_moe": [{"num_experts_per_tok": 3, "attention_bias": True}],
}

CASES = [(kind, change) for kind in MODEL_TYPES for change in [{}, *CHANGES[kind]]]


@pytest.mark.parametrize(("model_type", "change"), CASES, ids=str)
def test_counts_are_those_of_the_built_model(
    tmp_path: Path, model_type: str, change: dict[str, Any]
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed (extra lab)")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of transformers and what it imports, not ours
        transformers = pytest.importorskip(
            "transformers", reason="transformers is not installed (see tests/requirements-full.txt)"
        )
        config = transformers.AutoConfig.for_model(model_type, **change)
        config.save_pretrained(tmp_path)
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    shape = read_config(tmp_path)
    sizes = {name: tensor.numel() for name, tensor in model.named_parameters()}
    assert count_params(shape, "total") == sum(sizes.values())

    # active = total - experts' parameters * (1 - experts per token / experts)
    experts = sum(size for name, size in sizes.items() if ".experts." in name)
    idle = 0
    if experts:
        idle = experts * (shape.n_experts - config.num_experts_per_tok) // shape.n_experts
    assert count_params(shape, "active") == sum(sizes.values()) - idle
    assert bool(experts) == (model_type in ("mixtral", "olmoe", "qwen2_moe", "qwen3_moe"))
