"""What loss to expect: the laws, published constants, and the optimum under a budget.

Chinchilla and KaplanND give the loss from parameters and tokens; PowerLaw and SaturatingPowerLaw
from one variable, as do M3, M4 and BrokenPowerLaw where it bends; `joint`, `variants` and `experts`
hold the others. `published` holds the papers' constants with their conventions; `allocate` finds
the best size for a budget of compute.
"""

from isoloss.laws import published
from isoloss.laws.allocation import Allocation, Cost, allocate, as_law, near_optimal
from isoloss.laws.annealing import Annealing, annealing_sums
from isoloss.laws.bends import M3, M4, BrokenPowerLaw
from isoloss.laws.chinchilla import ChinchillaFrontier, UncountedFrontier
from isoloss.laws.downstream import DownstreamError
from isoloss.laws.experts import JointMoE, RoutedExperts, effective_experts
from isoloss.laws.forms import Chinchilla, KaplanND, Law, PowerLaw, SaturatingPowerLaw
from isoloss.laws.joint import ChinchillaTied, DataConstrained, Farseer, Overtraining
from isoloss.laws.kaplan import KaplanFrontier, contradiction, trade_off
from isoloss.laws.published import PublishedLaw
from isoloss.laws.published_tuning import TUNING_RULES
from isoloss.laws.relations import BatchRate, CriticalBatch, KaplanNS, PowerRelation
from isoloss.laws.required import compute_at_size, compute_for_loss, tokens_for_loss
from isoloss.laws.tuning_rules import TuningRule
from isoloss.laws.variants import FineGrainedMoE, OffsetPrecision, Precision, QuantizationLoss

__all__ = [
    "M3",
    "M4",
    "TUNING_RULES",
    "Allocation",
    "Annealing",
    "BatchRate",
    "BrokenPowerLaw",
    "Chinchilla",
    "ChinchillaFrontier",
    "ChinchillaTied",
    "Cost",
    "CriticalBatch",
    "DataConstrained",
    "DownstreamError",
    "Farseer",
    "FineGrainedMoE",
    "JointMoE",
    "KaplanFrontier",
    "KaplanND",
    "KaplanNS",
    "Law",
    "OffsetPrecision",
    "Overtraining",
    "PowerLaw",
    "PowerRelation",
    "Precision",
    "PublishedLaw",
    "QuantizationLoss",
    "RoutedExperts",
    "SaturatingPowerLaw",
    "TuningRule",
    "UncountedFrontier",
    "allocate",
    "annealing_sums",
    "as_law",
    "compute_at_size",
    "compute_for_loss",
    "contradiction",
    "effective_experts",
    "near_optimal",
    "published",
    "tokens_for_loss",
    "trade_off",
]
