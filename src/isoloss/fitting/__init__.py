"""From runs to a law: parametric fit, IsoFLOP profiles, envelope of curves, power trends."""

from isoloss.fitting.envelope import Envelope, envelope
from isoloss.fitting.isoflop import IsoFlop, IsoFlopBudget, isoflop
from isoloss.fitting.parametric import Fit, fit
from isoloss.fitting.trend import PowerTrend, power_trend

__all__ = [
    "Envelope",
    "Fit",
    "IsoFlop",
    "IsoFlopBudget",
    "PowerTrend",
    "envelope",
    "fit",
    "isoflop",
    "power_trend",
]
