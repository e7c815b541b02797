"""The figures of a report, each with the sentence that says how to read it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from isoloss.errors import IsolossError
from isoloss.figures import (
    backtest_errors,
    forecasts_and_outcomes,
    inline_svg,
    isoflop_curves,
    isoloss_contours,
    learning_curves,
    loss_against,
    loss_unit,
    panels,
    residuals,
)
from isoloss.reporting import wording
from isoloss.reporting.document import Block, Figure, Refusal
from isoloss.reporting.evidence import Evidence, Missing

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def compute_figure(evidence: Evidence) -> Block:
    """Loss against compute, with forecasts and outcomes."""
    main = evidence.main
    further = bool(evidence.outcomes or evidence.pending)
    reading = (
        "each dot is a run; the line is the least loss the law expects from that much compute, "
        "dashed beyond the runs, the strip its 90 % interval; runs above the line split their "
        "compute less well."
    )
    if main.model is None:
        reading = "each dot is a run; there is no law to draw."
    if further:
        reading += (
            " Bars beyond the runs are forecasts for single runs, diamonds the measured losses "
            "inside them, crosses those outside; a forecast away from the best split lies above "
            "the line."
        )
    return _drawn(
        "loss-compute",
        "Loss against compute",
        reading,
        lambda: loss_against(
            main.runs,
            "c",
            main.model,
            cost=main.cost,
            forecasts=evidence.pending,
            outcomes=evidence.outcomes,
        ),
    )


def resource_figure(evidence: Evidence) -> Block:
    """Loss against parameters and against tokens, side by side."""
    main = evidence.main

    def draw() -> Axes:
        left, right = panels(2, height=3.5, sharey=True)
        loss_against(main.runs, "n", main.model, ax=left)
        loss_against(main.runs, "d", main.model, ax=right)
        right.set_ylabel("")
        return left

    colours = "violet dots had little of the other resource, yellow ones much"
    reading = f"{colours}; there is no law to draw."
    if main.model is not None:
        reading = (
            f"{colours}; the thin lines are the law at the amounts written beside them and should "
            "run through dots of their colour; the thick line is the law with the other resource "
            "unlimited, and no run should lie below it."
        )
    return _drawn(
        "loss-resources",
        "Loss against parameters and against tokens",
        reading,
        draw,
    )


def curves_figure(evidence: Evidence) -> Block:
    """Learning curves and their envelope."""
    if isinstance(evidence.envelope, Missing):
        return Refusal(wording.refusal("learning curves", evidence.envelope.reason))
    found = evidence.envelope
    return _drawn(
        "learning-curves",
        "Learning curves",
        "each line is one run as it trains, violet for small models, yellow for large ones, with "
        "its last point marked; at any compute the lowest line is the size to be training, and "
        "the dashed envelope joins the lowest. Points before a run's end have a higher learning "
        "rate, so the envelope is an upper bound.",
        lambda: learning_curves(evidence.main.runs, found),
    )


def isoflop_figure(evidence: Evidence) -> Block:
    """IsoFLOP curves with their minima."""
    found = evidence.isoflop
    if isinstance(found, Missing):
        return Refusal(wording.refusal("IsoFLOP curves", found.reason))
    return _drawn(
        "isoflop",
        "IsoFLOP curves",
        "every curve spends one budget of compute on models of different size; its lowest point "
        "(diamond) is the best size for that budget, and the minima should move right and down "
        "as the budget grows. A hollow curve has no minimum between its smallest and its largest "
        "size, and is not used.",
        lambda: isoflop_curves(found, evidence.main.runs),
    )


def contour_figure(evidence: Evidence) -> Block:
    """IsoLoss contours with the frontier, the runs and the target."""
    main = evidence.main
    model = main.model
    if model is None:
        return Refusal(wording.refusal("contours", _reason(main.fit)))
    return _drawn(
        "isoloss",
        "IsoLoss contours",
        "every grey line joins the ways to spend compute that reach one loss; its leftmost point "
        "is the cheapest, and the thick line joins these. The dark strip is the 90 % interval of "
        "the best size, the pale one the sizes that need at most 5 % more compute; the wider they "
        "are, the less the exact size matters. Dots are the runs, the diamond is the plan.",
        lambda: isoloss_contours(model, main.runs, flops=evidence.target, cost=main.cost),
    )


def residual_figure(evidence: Evidence) -> Block:
    """Residuals against parameters, tokens and compute."""
    fit = evidence.main.fit
    if isinstance(fit, Missing):
        return Refusal(wording.refusal("residuals", fit.reason))

    def draw() -> Axes:
        axes = panels(3, height=2.7, sharey=True)
        residuals(fit, "n", ax=axes[0])
        residuals(fit, "d", ax=axes[1])
        residuals(fit, "c", ax=axes[2])
        for inner in axes[1:]:
            inner.set_ylabel("")
        return axes[0]

    return _drawn(
        "residuals",
        "What the law leaves over",
        "dots should scatter about zero without a pattern; where the running median (line) bends "
        "away from zero, the law is wrong in a systematic way. The strip holds the middle 90 %.",
        draw,
    )


def forecast_figure(evidence: Evidence) -> Block:
    """Forecasts and outcomes, one row each."""
    return _drawn(
        "forecasts",
        "Forecast against outcome",
        "each bar is the 90 % interval for a run that had not been trained, its mark the middle; "
        "a diamond is a measured loss inside, a cross one outside, each with its standard error "
        "over held-out documents. Nine in ten should fall inside.",
        lambda: forecasts_and_outcomes(
            evidence.outcomes, evidence.pending, unit=loss_unit(evidence.main.runs)
        ),
    )


def backtest_figure(evidence: Evidence) -> Block:
    """Errors of the back-test."""
    found = evidence.backtest
    if isinstance(found, Missing):
        return Refusal(wording.refusal("back-test", found.reason))
    return _drawn(
        "backtest",
        "Back-test",
        "the law is fitted again to the runs in the grey part (ticks) and asked for the others; "
        "zero is its prediction, bars are its 90 % intervals, diamonds measured losses inside, "
        "crosses outside. Runs of one budget are drawn side by side.",
        lambda: backtest_errors(found),
    )


def _drawn(name: str, title: str, reading: str, draw: Callable[[], Axes]) -> Block:
    try:
        svg = inline_svg(draw(), name, f"{title}. How to read it: {reading}")
    except IsolossError as error:
        return Refusal(wording.refusal(f"figure of {title}", str(error)))
    return Figure(name, title, reading, svg)


def _reason(found: object) -> str:
    return found.reason if isinstance(found, Missing) else "there is no law"
