"""What loss to expect: the laws, published constants, and the optimum under a budget.

Chinchilla and KaplanND give the loss from parameters and tokens; PowerLaw and SaturatingPowerLaw
from one variable. `published` holds the papers' constants with their conventions; `allocate` finds
the best size for a budget of compute.
"""

from isoloss.laws.forms import Chinchilla, KaplanND, Law, PowerLaw, SaturatingPowerLaw

__all__ = ["Chinchilla", "KaplanND", "Law", "PowerLaw", "SaturatingPowerLaw"]
