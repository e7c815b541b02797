"""What a model costs: its shape, its parameters by group and convention, its FLOPs, its cache."""

from isoloss.counting.family import family_cost
from isoloss.counting.flops import (
    FLOP_CONVENTIONS,
    CConvention,
    chinchilla_flops,
    flops_all,
    flops_per_token,
)
from isoloss.counting.huggingface import MODEL_TYPES, read_config
from isoloss.counting.memory import kv_cache_bytes
from isoloss.counting.parameters import (
    COUNT_CONVENTIONS,
    NConvention,
    active_matrices,
    count_all,
    count_params,
    params_by_group,
)
from isoloss.counting.shape import Norm, Positions, QKNorm, Shape

__all__ = [
    "COUNT_CONVENTIONS",
    "FLOP_CONVENTIONS",
    "MODEL_TYPES",
    "CConvention",
    "NConvention",
    "Norm",
    "Positions",
    "QKNorm",
    "Shape",
    "active_matrices",
    "chinchilla_flops",
    "count_all",
    "count_params",
    "family_cost",
    "flops_all",
    "flops_per_token",
    "kv_cache_bytes",
    "params_by_group",
    "read_config",
]
