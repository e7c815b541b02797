"""From a law to a decision: how large a model a budget should buy, and how sure that is."""

from isoloss.planning.answer import Estimate, Plan
from isoloss.planning.budget import Amounts, Budget, Machine, OtherAmounts, budget
from isoloss.planning.decision import Bet, best_bet
from isoloss.planning.designs import Design, grid_design, isoflop_design, ladder_design
from isoloss.planning.kaplan import plan_kaplan
from isoloss.planning.kaplan_design import kaplan_design
from isoloss.planning.plan import disagreement, plan, published_plans
from isoloss.planning.recipe import PlannedRun, Recipe

__all__ = [
    "Amounts",
    "Bet",
    "Budget",
    "Design",
    "Estimate",
    "Machine",
    "OtherAmounts",
    "Plan",
    "PlannedRun",
    "Recipe",
    "best_bet",
    "budget",
    "grid_design",
    "isoflop_design",
    "kaplan_design",
    "ladder_design",
    "disagreement",
    "plan",
    "plan_kaplan",
    "published_plans",
]
