"""How far to believe a fit: resampled laws, intervals, back-tests, forecasts written beforehand."""

from isoloss.trust.approaches import Approach, Approaches, approaches
from isoloss.trust.backtest import Backtest, backtest, backtest_fit, backtest_line
from isoloss.trust.choice import Choice, Reach, RollingBacktest, choose, rolling_backtest
from isoloss.trust.compare import Comparison, compare, compute_multiplier
from isoloss.trust.conventions import Conventions, Counted, conventions
from isoloss.trust.curves import CurveForecast, forecast_curve
from isoloss.trust.draws import Draws, bootstrap
from isoloss.trust.fit_file import FittedLaw, read_fit
from isoloss.trust.forecast import (
    Forecast,
    Outcome,
    Target,
    make_forecasts,
    read_forecasts,
    write_forecasts,
)
from isoloss.trust.forecast_model import ForecastModel
from isoloss.trust.profile import Profile, profile
from isoloss.trust.quantiles import Interval
from isoloss.trust.tracking import Course, track

__all__ = [
    "Approach",
    "Approaches",
    "Backtest",
    "Choice",
    "Comparison",
    "Conventions",
    "Counted",
    "Course",
    "CurveForecast",
    "Draws",
    "FittedLaw",
    "Forecast",
    "ForecastModel",
    "Interval",
    "Outcome",
    "Profile",
    "Reach",
    "RollingBacktest",
    "Target",
    "approaches",
    "backtest",
    "backtest_fit",
    "backtest_line",
    "bootstrap",
    "choose",
    "compare",
    "compute_multiplier",
    "conventions",
    "forecast_curve",
    "make_forecasts",
    "profile",
    "read_fit",
    "read_forecasts",
    "rolling_backtest",
    "track",
    "write_forecasts",
]
