"""From a law to a decision: how large a model a budget should buy, and how sure that is."""

from isoloss.planning.answer import Estimate, Plan
from isoloss.planning.budget import Amounts, Budget, Machine, OtherAmounts, budget
from isoloss.planning.cooldowns import SweepCost, sweep_cost
from isoloss.planning.decision import Bet, best_bet
from isoloss.planning.designs import Design, grid_design, isoflop_design, ladder_design
from isoloss.planning.experts import Mixture, allocate_experts, expert_flops, total_size
from isoloss.planning.kaplan import plan_kaplan
from isoloss.planning.kaplan_design import kaplan_design
from isoloss.planning.lifetime import Lifetime, Traffic, best_tokens, least_dollars, least_lifetime
from isoloss.planning.overtraining import (
    Overhead,
    Overtrained,
    chinchilla_token_ratio,
    least_size_ratio,
    overhead,
    overtraining,
)
from isoloss.planning.plan import disagreement, plan, published_plans
from isoloss.planning.precision import Bits, allocate_bits, critical_tokens
from isoloss.planning.recipe import PlannedRun, Recipe
from isoloss.planning.repetition import (
    Repetition,
    allocate_repeated,
    worth_of_epochs,
    worth_of_next_epoch,
)

__all__ = [
    "Amounts",
    "Bet",
    "Bits",
    "Budget",
    "Design",
    "Estimate",
    "Lifetime",
    "Machine",
    "Mixture",
    "OtherAmounts",
    "Overhead",
    "Overtrained",
    "Plan",
    "PlannedRun",
    "Recipe",
    "Repetition",
    "SweepCost",
    "Traffic",
    "allocate_bits",
    "allocate_experts",
    "allocate_repeated",
    "best_bet",
    "best_tokens",
    "budget",
    "chinchilla_token_ratio",
    "critical_tokens",
    "disagreement",
    "expert_flops",
    "grid_design",
    "isoflop_design",
    "kaplan_design",
    "ladder_design",
    "least_dollars",
    "least_lifetime",
    "least_size_ratio",
    "overhead",
    "overtraining",
    "plan",
    "plan_kaplan",
    "published_plans",
    "sweep_cost",
    "total_size",
    "worth_of_epochs",
    "worth_of_next_epoch",
]
