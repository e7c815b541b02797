"""From a law to a decision: how large a model a budget should buy, and how sure that is.

`plan` and what it needs are loaded at once; the other questions, and the designs of sweeps, when
they are asked for, so that a plan is quick.
"""

from typing import TYPE_CHECKING

from isoloss.planning.answer import Plan
from isoloss.planning.budget import Amounts, Budget, Machine, OtherAmounts, budget
from isoloss.planning.decision import Bet, best_bet
from isoloss.planning.estimate import Estimate
from isoloss.planning.kaplan import plan_kaplan
from isoloss.planning.plan import disagreement, plan, published_plans
from isoloss.planning.rules import RuleAnswer, Setup
from isoloss.planning.training import Training

if TYPE_CHECKING:
    from isoloss.planning.binding import Binding, Choice, Constrained
    from isoloss.planning.constraints import constrained
    from isoloss.planning.cooldowns import SweepCost, sweep_cost
    from isoloss.planning.designs import Design, grid_design, isoflop_design, ladder_design
    from isoloss.planning.experts import Mixture, allocate_experts, expert_flops, total_size
    from isoloss.planning.kaplan_studies import kaplan_design
    from isoloss.planning.lifetime import (
        Lifetime,
        Traffic,
        best_tokens,
        least_dollars,
        least_lifetime,
    )
    from isoloss.planning.next_runs import Proposal, ProposedRun, propose_runs
    from isoloss.planning.overheads import (
        Overhead,
        Overtrained,
        chinchilla_token_ratio,
        least_size_ratio,
        overhead,
        overtraining,
    )
    from isoloss.planning.precision import Bits, allocate_bits, critical_tokens
    from isoloss.planning.recipe import PlannedRun, Recipe
    from isoloss.planning.repetition import (
        Repetition,
        allocate_repeated,
        worth_of_epochs,
        worth_of_next_epoch,
    )
    from isoloss.planning.walks import Explanation

_LATER = {
    "binding": "Binding Choice Constrained",
    "constraints": "constrained",
    "cooldowns": "SweepCost sweep_cost",
    "designs": "Design grid_design isoflop_design ladder_design",
    "experts": "Mixture allocate_experts expert_flops total_size",
    "kaplan_studies": "kaplan_design",
    "lifetime": "Lifetime Traffic best_tokens least_dollars least_lifetime",
    "next_runs": "Proposal ProposedRun propose_runs",
    "overheads": "Overhead Overtrained chinchilla_token_ratio least_size_ratio overhead "
    "overtraining",
    "precision": "Bits allocate_bits critical_tokens",
    "recipe": "PlannedRun Recipe",
    "repetition": "Repetition allocate_repeated worth_of_epochs worth_of_next_epoch",
    "walks": "Explanation",
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
