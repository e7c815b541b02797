"""The page of the checks of the noise scale: what theory says beside what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from isoloss.experiments.batch_size.kept import write_json
from isoloss.experiments.batch_size.page import machine_line, save
from isoloss.experiments.batch_size.theory import Checks
from isoloss.files import write_whole
from isoloss.fitting import BatchRateFit, LineSearchFit, batch_rate_rule
from isoloss.fitting.intervals import Interval
from isoloss.laws.relations import BatchRate
from isoloss.noise import NoiseScale
from isoloss.runs import describe_machine
from isoloss.units import format_number

_Span = tuple[float, float, float]
"""Low, middle, high."""


@dataclass(frozen=True)
class Row:
    """A line of the table. agrees: None where theory gives no number to hold it against."""

    optimizer: str
    check: str
    theory: str
    measured: str
    agrees: bool | None


def write_page(found: Mapping[str, Checks], folder: Path) -> str:
    """Write checks.md, checks.json and the figures into a folder; returns the page."""
    page = as_markdown(found)
    write_json(folder / "checks.json", as_json(found))
    for name, one in found.items():
        _draw(one, folder, name.lower())
    write_whole(folder / "checks.md", page)
    return page


def as_markdown(found: Mapping[str, Checks]) -> str:
    """The table of all checks, and what was done."""
    one = next(iter(found.values()))
    lines = [
        f"### Checks of the noise scale: {one.task.name}",
        "",
        f"Batches in {one.task.unit}, losses held out, intervals of 90 %; Adam's gradients are "
        "weighed as it weighs them. *Agrees*: whether the two intervals meet.",
        "",
        "| | check | theory says | measured | agrees |",
        "|---|---|---|---|---|",
    ]
    for name, checks in found.items():
        for row in rows(name, checks):
            agrees = {None: "", True: "yes", False: "**no**"}[row.agrees]
            cells = (row.optimizer, row.check, row.theory, row.measured, agrees)
            lines.append(f"| {' | '.join(cells)} |")
    for name, checks in found.items():
        if checks.refusal:
            lines += ["", f"{name}: not identified: {checks.refusal}."]
    lines += ["", machine_line()]
    return "\n".join(lines) + "\n"


def rows(name: str, found: Checks) -> list[Row]:
    """The checks of one optimizer."""
    target, cell = float(found.fit.target[found.cell]), found.cell
    result = []
    for held in found.held:
        noise, simple = held.curvature.noise, held.curvature.simple
        hessian = (noise.low, noise.b_noise, noise.high)
        at = f"at loss {held.loss:.2f}"
        says = f"B_noise {_words(hessian)}"
        for what, word in (("eps_opt(B)", "of_eps"), ("gain(B)", "of_gain")):
            if held.line is None:
                result.append(Row(name, f"{what} {at}", says, f"none: {held.refusal}", None))
                continue
            span = _span(getattr(held.line, word).b_star)
            measured = f"B {_words(span)}"
            result.append(Row(name, f"{what} {at}", says, measured, _meet(span, hessian)))
        b_simple = _scale(simple)
        measured = f"B_simple {_words(b_simple)}"
        result.append(Row(name, f"B_simple {at}", says, measured, _meet(b_simple, hessian)))
    b_crit = Interval(*(one[cell] for one in found.fit.b_crit))
    last = _scale(found.held[-1].curvature.simple)
    says = f"B_simple {_words(last)} at loss {found.held[-1].loss:.2f}"
    here = _span(b_crit)
    result.append(Row(name, f"B_crit to loss {target:.3g}", says, _words(here), _meet(here, last)))
    alpha = _span(found.rule.alpha)
    theory = (1.0, 1.0, 1.0) if found.task.optimizer == "sgd" else (0.5, 0.75, 1.0)
    says = "alpha 1" if found.task.optimizer == "sgd" else "alpha 0.5 to 1"
    result.append(
        Row(name, "rule of the rate", says, f"alpha {_words(alpha)}", _meet(alpha, theory))
    )
    rule, words = found.rule, "rule of the rate"
    if found.task.optimizer == "sgd":
        rule, words = batch_rate_rule(rule.batch, rule.rate, alpha=1.0), f"{words}, alpha 1"
    star, says = _span(rule.b_star), f"B* near B_crit {_words(here)}"
    result.append(Row(name, words, says, f"B* {_words(star)}", _meet(star, here)))
    branched = found.branches
    span = (branched.low, branched.b_crit, branched.high)
    words = f"{'at least ' if branched.censored else ''}{_words(span)}"
    check = f"branches from loss {found.held[-1].loss:.2f}, tolerance {branched.tolerance:g}"
    result.append(Row(name, check, f"no number; B_crit {_words(here)}", words, None))
    return result + _savings(name, found)


def _savings(name: str, found: Checks) -> list[Row]:
    """Of adaptive batches, and of the temperature."""
    saving, warm = found.saving, found.temperature
    gamma, (low, measured, high) = saving.gamma, saving.measured
    cold = (warm.low, warm.ratio, warm.high)
    told, short = math.isfinite(gamma), "no number: the runs end before two readings"
    return [
        Row(
            name,
            "(S/S_min - 1)(E/E_min - 1), adaptive over fixed",
            f"gamma {gamma:.3g}" if told else short,
            _words(saving.product),
            _meet(saving.product, (gamma,) * 3),
        ),
        Row(
            name,
            f"saving at {format_number(saving.exchange)} examples to the step",
            f"{saving.predicted:.1%}" if told else short,
            f"{measured:.1%} ({low:.1%} to {high:.1%})",
            _meet(saving.measured, (saving.predicted,) * 3),
        ),
        Row(
            name,
            f"B_simple at rate / {warm.factor:g}, loss {warm.hot[0].loss:.2f}",
            f"{warm.factor:g} times",
            f"{_words(cold)} times",
            _meet(cold, (warm.factor,) * 3),
        ),
    ]


def as_json(found: Mapping[str, Checks]) -> dict[str, Any]:
    """All numbers of the checks."""
    result: dict[str, Any] = {"machine": describe_machine()}
    for name, one in found.items():
        tuned = one.scan.tuned
        result[name] = {
            "plan": asdict(one.plan),
            "refusal": one.refusal,
            "tuned": {
                "target": tuned.crossings.target,
                "batch": tuned.crossings.batch,
                "steps": tuned.crossings.steps,
                "censored": tuned.crossings.censored,
                "rate": tuned.rate,
            },
            "fit": {
                key: getattr(one.fit, key)
                for key in ("target", "b_crit", "s_min", "e_min", "spread")
            },
            "rule": _fitted(one.rule),
            "held": [
                {
                    "loss": held.loss,
                    "noise": asdict(held.curvature.noise),
                    "simple": asdict(held.curvature.simple),
                    "eps_max": held.curvature.eps_max,
                    "gain_max": held.curvature.gain_max,
                    "line": None if held.line is None else _searched(held.line),
                    "refusal": held.refusal,
                }
                for held in one.held
            ],
            "branches": vars(one.branches),
            "saving": vars(one.saving) | {"runs": [asdict(run) for run in one.saving.runs]},
            "temperature": asdict(one.temperature),
            "table": [asdict(row) for row in rows(name, one)],
        }
    return result


def _searched(line: LineSearchFit) -> dict[str, Any]:
    return vars(line) | {"of_eps": _fitted(line.of_eps), "of_gain": _fitted(line.of_gain)}


def _fitted(rule: BatchRateFit) -> dict[str, Any]:
    return vars(rule) | {"law": asdict(rule.law)}


def _draw(found: Checks, folder: Path, name: str) -> None:
    from isoloss.figures import best_rates, best_step, branch_losses, panels

    unit = found.task.unit
    for held in found.held:
        if held.line is None:
            continue
        curvature, columns = held.curvature, panels(2, height=3.4)
        b_noise = curvature.noise.b_noise
        steps, gains = (
            BatchRate(most, b_noise) if most > 0 and b_noise > 0 else None
            for most in (curvature.eps_max, curvature.gain_max)
        )
        best_step(held.line, "eps", said=steps, unit=unit, ax=columns[0])
        best_step(held.line, "gain", said=gains, unit=unit, ax=columns[1])
        save(columns[0], folder / f"{name}-line-search-{held.loss:.2f}")
    save(best_rates(found.rule, unit=unit), folder / f"{name}-rates")
    branched = found.branches
    ax = branch_losses(
        branched.batch * branched.factor,
        branched.excess,
        branched.excess_low,
        branched.excess_high,
        tolerance=branched.tolerance,
        unit=unit,
    )
    save(ax, folder / f"{name}-branches")


def _meet(one: _Span, other: _Span) -> bool | None:
    """Whether two intervals have a value in common; None where either has no middle."""
    if not math.isfinite(one[1]) or not math.isfinite(other[1]):
        return None
    return one[0] <= other[2] and other[0] <= one[2]


def _span(interval: Interval) -> _Span:
    return float(interval.low), float(interval.mid), float(interval.high)


def _scale(scale: NoiseScale) -> _Span:
    return scale.low, scale.b_simple, scale.high


def _words(span: _Span) -> str:
    low, middle, high = (
        "..." if math.isinf(one) else f"{one:.2g}" if abs(one) < 10 else format_number(one)
        for one in span
    )
    if not math.isfinite(span[1]):
        return f"not measurable (above {low})"
    return f"{middle} ({low} to {high})"
