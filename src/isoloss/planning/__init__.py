"""From a law to a decision: how large a model a budget should buy, and how sure that is."""

from isoloss.planning.answer import Estimate, Plan
from isoloss.planning.budget import Amounts, Budget, Machine, OtherAmounts, budget
from isoloss.planning.decision import Bet, best_bet
from isoloss.planning.kaplan import plan_kaplan
from isoloss.planning.plan import plan, published_plans

__all__ = [
    "Amounts",
    "Bet",
    "Budget",
    "Estimate",
    "Machine",
    "OtherAmounts",
    "Plan",
    "best_bet",
    "budget",
    "plan",
    "plan_kaplan",
    "published_plans",
]
