"""The answer before the evidence: what to train, and how sure that is."""

from __future__ import annotations

from isoloss.fitting import inspect_runs
from isoloss.planning import Plan
from isoloss.reporting import wording
from isoloss.reporting.document import Block, Card, Cards, Points, Refusal
from isoloss.reporting.evidence import Evidence, Missing
from isoloss.trust import Backtest
from isoloss.units import plural


def summary(evidence: Evidence) -> tuple[Block, ...]:
    """Two cards, a line for every doubt that the fit itself raises, and what was seen where."""
    blocks: list[Block] = [Cards((what_to_train(evidence), how_sure(evidence)))]
    fit = evidence.main.fit
    if isinstance(fit, Missing):
        findings = inspect_runs(evidence.main.runs)
    else:
        findings = fit.findings
        blocks += [Refusal(f"The fit is doubtful: {status.value}.") for status in fit.status]
    if findings:
        blocks.append(Points(tuple(f"Seen in the runs: {one.detail}." for one in findings)))
    return tuple(blocks)


def what_to_train(evidence: Evidence) -> Card:
    """The plan in a sentence, or why there is none."""
    question, plan = "What to train", evidence.main.plan
    if isinstance(plan, Missing):
        return Card(question, "These runs do not say.", (_sentence(plan.reason),))
    lines = []
    if plan.near_optimal is not None:
        sizes = wording.span(*plan.near_optimal, wording.count)
        lines.append(f"Any size in {sizes} is as good: at most 5 % more compute for the same loss.")
    else:
        lines.append("No range of sizes is surely as good: the draws disagree.")
    lines.append(
        f"Best size {wording.with_interval(plan.n, wording.count)}, tokens "
        f"{wording.with_interval(plan.d, wording.count)}, in 90 % of resampled fits."
    )
    counted = wording.count_name(plan.n_convention)
    lines.append(f"{_budget(evidence)} N is {counted}.")
    return Card(question, _answer(plan), tuple(lines))


def _answer(plan: Plan) -> str:
    return (
        f"{wording.count(plan.n.mid)} parameters on {wording.count(plan.d.mid)} tokens, for a loss "
        f"of {wording.with_interval(plan.loss)}"
    )


def _budget(evidence: Evidence) -> str:
    far = evidence.target / float(evidence.main.runs.c.max())
    beyond = f"{wording.ratio(far)} times the largest run" if far > 1 else "within the runs"
    given = "" if evidence.given else " (no target was given)"
    return f"Budget: {wording.flops(evidence.target)} FLOPs, {beyond}{given}."


def how_sure(evidence: Evidence) -> Card:
    """What has been checked: forecasts, the back-test, and how far the target lies beyond."""
    lines = []
    answer = "Not checked: no forecast has an outcome, and these runs allow no back-test."
    if not isinstance(evidence.backtest, Missing):
        answer = _backtest_answer(evidence.backtest)
    else:
        lines.append(wording.refusal("back-test", evidence.backtest.reason))
    if evidence.outcomes:
        hits = sum(outcome.hit for outcome in evidence.outcomes)
        total = len(evidence.outcomes)
        if not isinstance(evidence.backtest, Missing):
            lines.append(answer + ".")
        answer = f"{hits} of {plural(total, 'forecast')} made beforehand held"
        farthest = max(outcome.forecast.far for outcome in evidence.outcomes)
        worst = max(abs(o.loss / o.forecast.mid - 1) for o in evidence.outcomes)
        lines.insert(
            0,
            f"The largest missed by {wording.percent(worst, 1)}; the farthest was for "
            f"{wording.ratio(farthest)} times the compute of any run seen.",
        )
    lines += _seed_lines(evidence)
    return Card("How sure", answer, tuple(lines))


def _backtest_answer(found: Backtest) -> str:
    tested = plural(len(found.test), "larger run")
    return (
        f"Back-test: {tested} predicted with a median error of "
        f"{wording.percent(abs(float(found.median_error)), 1)}, "
        f"{wording.percent(float(found.coverage))} inside the 90 % interval"
    )


def _seed_lines(evidence: Evidence) -> list[str]:
    from isoloss.trust.resampling import configurations, seed_spread

    numbers = configurations(evidence.main.runs)
    if len(set(numbers.tolist())) == len(numbers):
        return ["No configuration was run from two seeds, so the spread of seeds is not known."]
    spread = seed_spread(evidence.main.runs)
    return [f"Seeds of one configuration differ by {wording.percent(spread, 2)} (one sd)."]


def _sentence(reason: str) -> str:
    text = reason[:1].upper() + reason[1:]
    return text if text.endswith(".") else f"{text}."
