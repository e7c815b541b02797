"""Every figure: each takes data and, if given, an Axes, draws, and returns the Axes.

    learning_curves         loss along every run as its compute grows, and their envelope
    curve_ahead             what a run has shown, and its forecast with a band
    loss_against            loss against parameters, tokens or compute, with a law and its band
    isoflop_curves          loss against size at each budget of compute, with the minima
    isoloss_contours        lines of equal loss, the efficient frontier, and the runs
    residuals               what a fit leaves over
    forecasts_and_outcomes  what was forecast, and what then happened
    backtest_errors         the same for runs held out of a fit
    steps_against_batch     steps to a loss against batch, and the critical batch
    steps_against_tokens    the same as steps against tokens, of one size
    time_against_compute    the bargain between time and compute that batches offer
    critical_batch_against_loss  the critical batch as the loss falls, and the noise scale
    best_step               the best rate of one step at each batch, or what it gains
    best_rates              the tuned rate of each batch, and the rule of it
    branch_losses           what larger batches lose, from one checkpoint
    tuning_curves           loss against learning rate, with the optimum of each model
    size_costs              what leaving the best size costs, for laws side by side
    position_curves         final loss along the context
    transfer_points         final loss on other corpora against that on the own
    exponent_walks          from Kaplan's exponent to Hoffmann's, step by step

Without an Axes each makes its own figure, outside pyplot, so nothing is left behind;
`save_figure(ax, path)` writes it. The look is set locally while drawing (`style`).
"""

from isoloss.figures.bands import law_of
from isoloss.figures.batch_steps import best_rates, best_step, branch_losses
from isoloss.figures.contours import isoloss_contours
from isoloss.figures.critical import steps_against_batch
from isoloss.figures.curves import curve_ahead, learning_curves
from isoloss.figures.forecasts import backtest_errors, forecasts_and_outcomes
from isoloss.figures.held_out import position_curves, transfer_points
from isoloss.figures.isoflops import isoflop_curves
from isoloss.figures.loss import loss_against
from isoloss.figures.noise_scales import (
    NoiseAlong,
    critical_batch_against_loss,
    steps_against_tokens,
    time_against_compute,
)
from isoloss.figures.residuals import residuals
from isoloss.figures.size_costs import size_costs
from isoloss.figures.style import house_style, loss_unit, panels, power_of_ten, short_number
from isoloss.figures.svg import COLOURS, inline_svg, save_figure
from isoloss.figures.tuning import tuning_curves
from isoloss.figures.walks import exponent_walks

__all__ = [
    "COLOURS",
    "NoiseAlong",
    "backtest_errors",
    "best_rates",
    "best_step",
    "branch_losses",
    "critical_batch_against_loss",
    "curve_ahead",
    "exponent_walks",
    "forecasts_and_outcomes",
    "house_style",
    "inline_svg",
    "isoflop_curves",
    "isoloss_contours",
    "law_of",
    "learning_curves",
    "loss_against",
    "loss_unit",
    "panels",
    "position_curves",
    "power_of_ten",
    "residuals",
    "save_figure",
    "short_number",
    "size_costs",
    "steps_against_batch",
    "steps_against_tokens",
    "time_against_compute",
    "transfer_points",
    "tuning_curves",
]
