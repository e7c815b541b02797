"""From a law to a decision: how large a model a budget should buy, and how sure that is."""

from isoloss.planning.answer import Estimate, Plan
from isoloss.planning.decision import Bet, best_bet
from isoloss.planning.kaplan import plan_kaplan
from isoloss.planning.plan import plan, published_plans

__all__ = ["Bet", "Estimate", "Plan", "best_bet", "plan", "plan_kaplan", "published_plans"]
