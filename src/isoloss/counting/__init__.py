"""What a model costs: shape, parameters by group and convention, FLOPs, cache; and hardware."""

from isoloss.counting.family import Family, family_cost
from isoloss.counting.flops import (
    FLOP_CONVENTIONS,
    CConvention,
    chinchilla_flops,
    flops_all,
    flops_per_token,
)
from isoloss.counting.hardware import (
    HARDWARE,
    Booking,
    Hardware,
    checked_utilisation,
    find_hardware,
    parse_booking,
)
from isoloss.counting.huggingface import MODEL_TYPES, read_config
from isoloss.counting.memory import (
    Precision,
    Recompute,
    TrainingMemory,
    activation_bytes,
    checkpoint_bytes,
    kv_cache_bytes,
    training_memory,
)
from isoloss.counting.nearby import Nearby, Style, lstm_near, shape_near, usual_depth
from isoloss.counting.parameters import (
    COUNT_CONVENTIONS,
    NConvention,
    active_matrices,
    count_all,
    count_params,
    params_by_group,
)
from isoloss.counting.shape import Kind, Norm, Positions, QKNorm, Shape

__all__ = [
    "COUNT_CONVENTIONS",
    "FLOP_CONVENTIONS",
    "HARDWARE",
    "MODEL_TYPES",
    "Booking",
    "CConvention",
    "Family",
    "Hardware",
    "Kind",
    "NConvention",
    "Nearby",
    "Norm",
    "Positions",
    "Precision",
    "QKNorm",
    "Recompute",
    "Shape",
    "Style",
    "TrainingMemory",
    "activation_bytes",
    "active_matrices",
    "checked_utilisation",
    "checkpoint_bytes",
    "chinchilla_flops",
    "count_all",
    "count_params",
    "family_cost",
    "find_hardware",
    "flops_all",
    "flops_per_token",
    "kv_cache_bytes",
    "lstm_near",
    "parse_booking",
    "params_by_group",
    "read_config",
    "shape_near",
    "training_memory",
    "usual_depth",
]
