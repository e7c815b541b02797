"""From a law to a decision: how large a model a budget should buy, and how sure that is."""

from isoloss.planning.plan import Estimate, Plan, plan, plan_kaplan, published_plans

__all__ = ["Estimate", "Plan", "plan", "plan_kaplan", "published_plans"]
