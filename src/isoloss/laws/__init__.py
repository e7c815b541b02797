"""What loss to expect: the laws, published constants, and the optimum under a budget.

Chinchilla and KaplanND give the loss from parameters and tokens; PowerLaw and SaturatingPowerLaw
from one variable. `published` holds the papers' constants with their conventions; `allocate` finds
the best size for a budget of compute.
"""

from isoloss.laws import published
from isoloss.laws.allocation import Allocation, Cost, allocate, as_law, near_optimal
from isoloss.laws.annealing import Annealing, annealing_sums
from isoloss.laws.forms import Chinchilla, KaplanND, Law, PowerLaw, SaturatingPowerLaw
from isoloss.laws.published import PublishedLaw
from isoloss.laws.relations import CriticalBatch, KaplanNS, PowerRelation

__all__ = [
    "Allocation",
    "Annealing",
    "Chinchilla",
    "Cost",
    "CriticalBatch",
    "KaplanND",
    "KaplanNS",
    "Law",
    "PowerLaw",
    "PowerRelation",
    "PublishedLaw",
    "SaturatingPowerLaw",
    "allocate",
    "annealing_sums",
    "as_law",
    "near_optimal",
    "published",
]
