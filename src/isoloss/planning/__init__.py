"""From a law to a decision: how large a model a budget should buy, and how sure that is.

`plan` and what it needs are loaded at once; the other questions, and the designs of sweeps, when
they are asked for, so that a plan is quick.
"""

from typing import TYPE_CHECKING

from isoloss.planning.budget import Amounts, Budget, Machine, OtherAmounts, budget
from isoloss.planning.doubt.decision import Bet, best_bet
from isoloss.planning.doubt.misfit import best_size
from isoloss.planning.estimate import Estimate
from isoloss.planning.plans.answer import Plan
from isoloss.planning.plans.kaplan import plan_kaplan
from isoloss.planning.plans.plan import plan
from isoloss.planning.plans.side_by_side import disagreement, published_plans
from isoloss.planning.training.rules import RuleAnswer
from isoloss.planning.training.setup import Setup
from isoloss.planning.training.training import Training

if TYPE_CHECKING:
    from isoloss.planning.beyond.binding import Binding, Choice, Constrained
    from isoloss.planning.beyond.constraints import constrained
    from isoloss.planning.beyond.experts import Mixture, allocate_experts, expert_flops, total_size
    from isoloss.planning.beyond.lifetime import (
        Lifetime,
        Traffic,
        best_tokens,
        least_dollars,
        least_lifetime,
    )
    from isoloss.planning.beyond.overheads import (
        Overhead,
        Overtrained,
        chinchilla_token_ratio,
        least_size_ratio,
        overhead,
        overtraining,
    )
    from isoloss.planning.beyond.precision import Bits, allocate_bits, critical_tokens
    from isoloss.planning.beyond.repetition import (
        Repetition,
        allocate_repeated,
        worth_of_epochs,
        worth_of_next_epoch,
    )
    from isoloss.planning.designs.cooldowns import SweepCost, sweep_cost
    from isoloss.planning.designs.curves import grid_design, isoflop_design, ladder_design
    from isoloss.planning.designs.design import Design
    from isoloss.planning.designs.kaplan_studies import kaplan_design
    from isoloss.planning.designs.recipe import PlannedRun, Recipe
    from isoloss.planning.doubt.next_runs import Proposal, ProposedRun, propose_runs
    from isoloss.planning.walks.walk import Explanation

_LATER = {
    "beyond.binding": "Binding Choice Constrained",
    "beyond.constraints": "constrained",
    "beyond.experts": "Mixture allocate_experts expert_flops total_size",
    "beyond.lifetime": "Lifetime Traffic best_tokens least_dollars least_lifetime",
    "beyond.overheads": "Overhead Overtrained chinchilla_token_ratio least_size_ratio overhead "
    "overtraining",
    "beyond.precision": "Bits allocate_bits critical_tokens",
    "beyond.repetition": "Repetition allocate_repeated worth_of_epochs worth_of_next_epoch",
    "designs.cooldowns": "SweepCost sweep_cost",
    "designs.curves": "grid_design isoflop_design ladder_design",
    "designs.design": "Design",
    "designs.kaplan_studies": "kaplan_design",
    "designs.recipe": "PlannedRun Recipe",
    "doubt.next_runs": "Proposal ProposedRun propose_runs",
    "walks.walk": "Explanation",
}
_HOME = {name: module for module, names in _LATER.items() for name in names.split()}

__all__ = [
    "Amounts",
    "Bet",
    "Binding",
    "Bits",
    "Budget",
    "Choice",
    "Constrained",
    "Design",
    "Estimate",
    "Explanation",
    "Lifetime",
    "Machine",
    "Mixture",
    "OtherAmounts",
    "Overhead",
    "Overtrained",
    "Plan",
    "PlannedRun",
    "Proposal",
    "ProposedRun",
    "Recipe",
    "Repetition",
    "RuleAnswer",
    "Setup",
    "SweepCost",
    "Traffic",
    "Training",
    "allocate_bits",
    "allocate_experts",
    "allocate_repeated",
    "best_bet",
    "best_size",
    "best_tokens",
    "budget",
    "chinchilla_token_ratio",
    "constrained",
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
    "propose_runs",
    "published_plans",
    "sweep_cost",
    "total_size",
    "worth_of_epochs",
    "worth_of_next_epoch",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'isoloss.planning' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"isoloss.planning.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
