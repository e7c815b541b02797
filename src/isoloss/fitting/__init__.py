"""From runs to a law: parametric fit, IsoFLOP profiles, envelope of curves, power trends."""

from isoloss.fitting.critical_batch import CriticalBatchFit, critical_batch
from isoloss.fitting.crossings import Crossings, crossings
from isoloss.fitting.envelope import Envelope, envelope
from isoloss.fitting.frontier import Frontier, frontier
from isoloss.fitting.isoflop import IsoFlop, IsoFlopBudget, isoflop
from isoloss.fitting.isoflop_bias import CorrectedIsoFlop, VertexShift, correct_isoflop
from isoloss.fitting.parametric import Fit, fit
from isoloss.fitting.trend import PowerTrend, power_trend
from isoloss.fitting.tuning import Configuration, RuleCheck, Tuning, TuningLaw, tune

__all__ = [
    "Configuration",
    "CorrectedIsoFlop",
    "CriticalBatchFit",
    "Crossings",
    "Envelope",
    "Fit",
    "Frontier",
    "IsoFlop",
    "IsoFlopBudget",
    "PowerTrend",
    "RuleCheck",
    "Tuning",
    "TuningLaw",
    "VertexShift",
    "correct_isoflop",
    "critical_batch",
    "crossings",
    "envelope",
    "fit",
    "frontier",
    "isoflop",
    "power_trend",
    "tune",
]
