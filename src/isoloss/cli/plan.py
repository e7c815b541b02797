"""`isoloss plan`: what to train with a budget, from published laws or from your own runs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Group, Parameter, validators

from isoloss.cli.constraints import Constraints, Made, answers, of_papers, sections
from isoloss.cli.options import Count, Json, Level, Reading, Seed, SizeForm, enough, fitted
from isoloss.cli.output import emit_json, estimate, interval, plain, say, show, table
from isoloss.cli.replacing import check_output, is_figure
from isoloss.cli.spending import BUDGET, Spending
from isoloss.cli.training import Trained, cost_of, rules_table, training_notes, training_rows
from isoloss.cli.wording import in_options
from isoloss.errors import UsageError
from isoloss.units import PF_DAY, format_number, percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from isoloss.laws import Cost
    from isoloss.planning import Amounts, Plan, Setup

_ABREAST = 3
_DRAWS = 1000
_SOURCE = Group("Where the law comes from", validator=validators.mutually_exclusive)


def plan(
    *,
    spending: Annotated[Spending | None, Parameter(name="*")] = None,
    runs: Annotated[
        Path | None, Parameter(group=_SOURCE, help="A table or directory of runs to fit.")
    ] = None,
    law: Annotated[
        list[str] | None,
        Parameter(
            group=_SOURCE,
            help="A published law, such as hoffmann or kaplan, or the file of a fit; several, each "
            "with a --law of its own, side by side.",
        ),
    ] = None,
    form: Annotated[
        SizeForm | None, Parameter(help="The law fitted to --runs; chinchilla without it.")
    ] = None,
    draws: Annotated[
        Count | None, Parameter(help="Resamplings of --runs behind the intervals; 1000 without it.")
    ] = None,
    level: Level = 0.9,
    seed: Seed = 0,
    explain: Annotated[
        bool,
        Parameter(
            group=BUDGET,
            show_default=False,
            help="Why Kaplan's answer and Hoffmann's differ, step by step; at --flops.",
        ),
    ] = False,
    trained: Annotated[Trained | None, Parameter(name="*")] = None,
    constraints: Annotated[Constraints | None, Parameter(name="*")] = None,
    figure: Annotated[
        Path | None, Parameter(help="Draw what other sizes cost to this SVG, PNG or PDF.")
    ] = None,
    reading: Annotated[Reading | None, Parameter(name="*")] = None,
    json: Json = False,
) -> None:
    """Say which model to train with a budget or for a loss, on how many tokens.

    With neither --runs nor --law: what Kaplan, Hoffmann and Besiroglu would do, side by side.
    They count parameters differently: read the second row before comparing the first. "As good"
    is the range of sizes that reach the same loss with at most 5 % more compute, beside it the
    range whose loss is at most 0.5 % above the least, and what half and twice the size would waste.
    With --runs the size is the one whose expected waste is least over the draws. Batch and rate are
    by the first published rule that was measured at such a model, or by your own --tuned sweep; the
    batch by your --critical-batch where no such sweep has a best one.
    """
    from isoloss.planning import budget, disagreement, published_plans
    from isoloss.planning import plan as make_plan

    amounts, tested = (spending or Spending()).amounts(), ""
    asked = constraints or Constraints()
    if explain:
        if runs or law or figure or asked.given or set(amounts) - {"flops"}:
            raise UsageError("--explain is about the papers: it goes with --flops alone")
        _explain(budget(amounts).flops if amounts else None, json)
        return
    if runs is None:
        _about_runs({"--form": form, "--draws": draws, "--columns and the like": reading})
    else:
        enough(draws or _DRAWS, level)
    how = trained or Trained()
    if figure is not None:
        _check(figure, [runs, how.tuned, asked.unique_law, *map(Path, law or ["kaplan"])])
    setup = how.setup(level=level, seed=seed)
    if runs is not None:
        from isoloss.fitting.cost import paid_cost
        from isoloss.trust import backtest_line

        resampled = fitted(form or "chinchilla", runs, reading, draws=draws or _DRAWS, seed=seed)
        paid = paid_cost(resampled.fit.runs) if how.cost is None else None
        cost = paid or _cost(how, setup, resampled.fit.runs.n_convention) or _six_per_parameter
        found = make_plan(resampled, cost=cost, level=level, setup=setup, **amounts)
        made: tuple[Made, ...] = (Made(found, resampled, cost),)
        tested = backtest_line(resampled, level=level)
    elif law is not None:
        made = tuple(_plan_by(name, level, how, setup, amounts) for name in dict.fromkeys(law))
    else:
        if how.cost == "exact":
            raise UsageError("--cost exact needs one law: --law hoffmann, or --runs of yours")
        made = of_papers(published_plans(setup=setup, **amounts))
    plans = tuple(one.plan for one in made)
    under, unanswered = answers(asked, made, level=level)
    if figure is not None:
        _draw(figure, made, level=level, runs=runs)
    if json:
        lines = {"backtest": tested, "disagreement": disagreement(plans)}
        emit_json(
            {
                "plans": [_full(one) for one in plans],
                **({"constraints": under, "unanswered": unanswered} if asked.given else {}),
                **{name: line for name, line in lines.items() if line},
            }
        )
        return
    last = [f"{line}." for line in (disagreement(plans), tested) if line]
    rules = [rules_table(one.training) for one in plans[:1] if len(plans) == 1 and one.training]
    beside = [*sections(under), *(f"{line}." for line in unanswered)]
    words = [*_notes(plans), *last, *([""] if beside else [])]
    show(*_side_by_side(plans), *rules, *words, *beside)


def _about_runs(given: Mapping[str, object]) -> None:
    """Refuse options that say something of runs, where there are none."""
    for name, value in given.items():
        if value is not None:
            raise UsageError(f"{name}: there are no --runs that it could be about; leave it out")


def _check(figure: Path, sources: Iterable[Path | None]) -> None:
    """Refuse a figure that would replace what is read, or what is no figure."""
    for source in sources:
        if source is not None:
            check_output(figure, source, is_figure)


def _draw(figure: Path, made: tuple[Made, ...], *, level: float, runs: Path | None) -> None:
    """Draw what other sizes than the best cost, by every law that there is a plan of."""
    from isoloss.figures import save_figure, size_costs

    named: dict[str, Made] = {}
    for one in made:
        name = one.plan.source if runs is None else runs.resolve().name
        taken = sum(each.plan.source == one.plan.source for each in named.values())
        named[f"{name} ({taken + 1})" if taken else name] = one
    flops = {name: one.plan.flops for name, one in named.items()}
    alike = len(set(flops.values())) == 1
    drawn = size_costs(
        {name: one.law for name, one in named.items()},
        made[0].plan.flops if alike else flops,
        cost={name: one.cost for name, one in named.items()},
        level=level,
    )
    save_figure(drawn, figure)
    say(f"drawn to {figure}")


def _cost(how: Trained, setup: Setup, convention: str) -> Cost | None:
    return cost_of(setup, convention) if how.cost == "exact" else None


def _full(found: Plan) -> dict[str, object]:
    """A plan by its fields, and what follows from them."""
    costs = ("pf_days", "gpu_hours", "hours", "dollars")
    return {**plain(found), **{name: getattr(found, name) for name in costs}}


def _explain(flops: float | None, json: bool) -> None:
    """Walk from Kaplan's exponent to Hoffmann's."""
    from isoloss.planning.walks.explain import CHINCHILLA_FLOPS
    from isoloss.planning.walks.explain import explain as walk

    found = walk(flops or CHINCHILLA_FLOPS)
    if json:
        emit_json(found)
        return
    at = f"{found.flops:.3g} FLOPs"
    show(
        table(
            "", "n ~ C^a: a", f">n at {at}", "number",
            rows=found.rows(), title="From Kaplan's exponent to Hoffmann's",
        ),
        table(
            "", "where", "printed", ">follows", ">ratio",
            rows=found.printed_rows(), title="What the papers print that does not follow",
        ),
        *(f"{note}." for note in found.notes),
    )  # fmt: skip


def _plan_by(name: str, level: float, how: Trained, setup: Setup, amounts: Amounts) -> Made:
    """The plan by a published law, or by the file of a fit if there is one of that name."""
    from isoloss.planning import plan as make_plan

    path = Path(name)
    if path.suffix != ".json" and not path.is_file():
        from isoloss.cli.laws import law_to_plan

        law = law_to_plan(name)
        cost = _cost(how, setup, getattr(law, "n_convention", "non_embedding"))
        return Made(make_plan(law, cost=cost, setup=setup, **amounts), law, cost)
    from isoloss.trust import bootstrap, read_fit

    read = read_fit(path)
    cost = _cost(how, setup, read.n_convention)
    if read.fit is None:
        found = make_plan(read.law, cost=cost, setup=setup, **amounts)
        found = replace(found, source=path.name, n_convention=read.n_convention)
        return Made(found, read.law, cost)
    drawn = bootstrap(read.fit.check(), draws=read.draws, seed=read.seed)
    found = make_plan(drawn, cost=cost, level=level, setup=setup, **amounts)
    return Made(replace(found, source=path.name), drawn, cost)


def _six_per_parameter(n: NDArray[np.float64]) -> NDArray[np.float64]:
    """The FLOPs per token of runs whose compute is 6 n d."""
    return 6.0 * n


def _side_by_side(plans: tuple[Plan, ...]) -> list[object]:
    """The plans in tables of at most three, which is what the width of a terminal holds."""
    alike = len({p.flops for p in plans}) == 1
    flops = plans[0].flops
    spent = f"{flops:.4g} FLOPs, {format_number(flops / PF_DAY)} PF-days" if alike else "For a loss"
    level = next((p.level for p in plans if p.level), None)
    doubt = f"; in brackets: {percent(level)} intervals" if level else ""
    tables = -(-len(plans) // _ABREAST)
    width = -(-len(plans) // tables)
    return [
        table(
            "",
            *(p.source for p in some),
            rows=[(name, *cells) for name, cells in _rows(some, show_flops=not alike)],
            title=None if first else f"{spent}{doubt}",
        )
        for first in range(0, len(plans), width)
        for some in [plans[first : first + width]]
    ]


def _rows(plans: tuple[Plan, ...], *, show_flops: bool) -> list[tuple[str, list[str]]]:
    rows = [
        ("parameters n", [estimate(p.n) for p in plans]),
        ("  counted as", [_counting(p) for p in plans]),
        ("  as good", [interval(*p.near_optimal) if p.near_optimal else "-" for p in plans]),
        ("  loss +0.5 %", [interval(*p.near_loss) if p.near_loss else "-" for p in plans]),
        ("  half of it, twice", [_elsewhere(p) for p in plans]),
        ("tokens d", [estimate(p.d) for p in plans]),
        ("tokens per parameter", [estimate(p.tokens_per_param) for p in plans]),
        (_loss_label(plans), [estimate(p.loss, "{:.3f}") for p in plans]),
        ("law", [p.law for p in plans]),
    ]
    if show_flops or any(p.compute.low is not None for p in plans):
        rows.insert(0, ("FLOPs", [estimate(p.compute) for p in plans]))
    rows += [
        (name, [estimate(getattr(p, field)) for p in plans])
        for name, field in (
            ("device-hours", "gpu_hours"),
            ("hours", "hours"),
            ("dollars", "dollars"),
        )
        if getattr(plans[0], field) is not None
    ]
    return rows + training_rows(plans)


def _loss_label(plans: tuple[Plan, ...]) -> str:
    units = {p.loss_unit for p in plans}
    return "loss, nats per token" if units == {"nats"} else f"loss, {', '.join(sorted(units))}"


def _counting(plan: Plan) -> str:
    return plan.n_convention + ("; its own FLOPs" if plan.c_convention == "cost" else "")


def _elsewhere(plan: Plan) -> str:
    """What half and twice the size waste, of the four that a plan states; a dash under a cap."""
    wasted = [excess for _, excess in plan.elsewhere[1:3]]
    return ", ".join("never" if math.isinf(each) else f"{each:+.0%}" for each in wasted) or "-"


def _notes(plans: tuple[Plan, ...]) -> list[str]:
    """Each note once, with the sources it holds for."""
    holders: dict[str, list[str]] = {}
    for each in plans:
        for note in each.notes:
            holders.setdefault(note, []).append(each.source)
    for source, note in training_notes(plans):
        holders.setdefault(note, []).append(source)
    if len(plans) == 1:
        return [f"{in_options(note)}." for note in holders]
    return [f"{', '.join(sources)}: {in_options(note)}." for note, sources in holders.items()]
