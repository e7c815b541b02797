"""From runs to a law: parametric fit, IsoFLOP profiles, envelope of curves, power trends."""

from isoloss.fitting.batch_rates import BatchRateFit, batch_rate_rule
from isoloss.fitting.critical_batch import CriticalBatchFit, critical_batch
from isoloss.fitting.crossings import Crossings, crossings
from isoloss.fitting.downstream import DownstreamFit, fit_downstream
from isoloss.fitting.envelope import Envelope, envelope
from isoloss.fitting.frontier import Frontier, frontier
from isoloss.fitting.isoflop import IsoFlop, IsoFlopBudget, isoflop
from isoloss.fitting.isoflop_bias import CorrectedIsoFlop, VertexShift, correct_isoflop
from isoloss.fitting.line_search import LineSearchFit, fit_line_search
from isoloss.fitting.overfitting import earliest_stop, overfitting, tokens_needed
from isoloss.fitting.parametric import Fit, fit
from isoloss.fitting.positions import PositionFit, fit_positions
from isoloss.fitting.runs_inspection import Finding, inspect_runs
from isoloss.fitting.shared import SharedFit, fit_shared
from isoloss.fitting.trend import PowerTrend, power_trend
from isoloss.fitting.tuning import Configuration, RuleCheck, Tuning, TuningLaw, tune
from isoloss.fitting.zhang import zhang_critical_batch

__all__ = [
    "BatchRateFit",
    "Configuration",
    "CorrectedIsoFlop",
    "CriticalBatchFit",
    "Crossings",
    "DownstreamFit",
    "Envelope",
    "Finding",
    "Fit",
    "Frontier",
    "IsoFlop",
    "IsoFlopBudget",
    "LineSearchFit",
    "PositionFit",
    "PowerTrend",
    "RuleCheck",
    "SharedFit",
    "Tuning",
    "TuningLaw",
    "VertexShift",
    "batch_rate_rule",
    "correct_isoflop",
    "critical_batch",
    "crossings",
    "earliest_stop",
    "envelope",
    "fit",
    "fit_downstream",
    "fit_line_search",
    "fit_positions",
    "fit_shared",
    "frontier",
    "inspect_runs",
    "isoflop",
    "overfitting",
    "power_trend",
    "tokens_needed",
    "tune",
    "zhang_critical_batch",
]
