"""The best settings of a sweep: the optimum of every configuration, and laws through them."""

from isoloss.fitting.tuning.arms import FACTORS
from isoloss.fitting.tuning.configurations import Configuration
from isoloss.fitting.tuning.rules import RuleCheck
from isoloss.fitting.tuning.trends import Span, TuningLaw
from isoloss.fitting.tuning.tune import Tuning, tune

__all__ = ["FACTORS", "Configuration", "RuleCheck", "Span", "Tuning", "TuningLaw", "tune"]
