"""isoloss: how large a language model to train, on how much text, for what loss.

The table of contents: every public name, sorted by room. A name is loaded when it is first used
(PEP 562), so `import isoloss` itself costs next to nothing and never loads torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from isoloss.counting import Family as Family
    from isoloss.counting import NConvention as NConvention
    from isoloss.counting import Shape as Shape
    from isoloss.counting import activation_bytes as activation_bytes
    from isoloss.counting import checkpoint_bytes as checkpoint_bytes
    from isoloss.counting import count_all as count_all
    from isoloss.counting import count_params as count_params
    from isoloss.counting import family_cost as family_cost
    from isoloss.counting import flops_all as flops_all
    from isoloss.counting import flops_per_token as flops_per_token
    from isoloss.counting import kv_cache_bytes as kv_cache_bytes
    from isoloss.counting import lstm_near as lstm_near
    from isoloss.counting import params_by_group as params_by_group
    from isoloss.counting import read_config as read_config
    from isoloss.counting import shape_near as shape_near
    from isoloss.counting import training_memory as training_memory
    from isoloss.errors import FitError as FitError
    from isoloss.errors import InputError as InputError
    from isoloss.errors import IsolossError as IsolossError
    from isoloss.errors import Status as Status
    from isoloss.errors import UnidentifiedError as UnidentifiedError
    from isoloss.fitting import CriticalBatchFit as CriticalBatchFit
    from isoloss.fitting import Crossings as Crossings
    from isoloss.fitting import DownstreamFit as DownstreamFit
    from isoloss.fitting import Fit as Fit
    from isoloss.fitting import Frontier as Frontier
    from isoloss.fitting import SharedFit as SharedFit
    from isoloss.fitting import Tuning as Tuning
    from isoloss.fitting import batch_rate_rule as batch_rate_rule
    from isoloss.fitting import correct_isoflop as correct_isoflop
    from isoloss.fitting import critical_batch as critical_batch
    from isoloss.fitting import crossings as crossings
    from isoloss.fitting import earliest_stop as earliest_stop
    from isoloss.fitting import envelope as envelope
    from isoloss.fitting import fit as fit
    from isoloss.fitting import fit_downstream as fit_downstream
    from isoloss.fitting import fit_positions as fit_positions
    from isoloss.fitting import fit_shared as fit_shared
    from isoloss.fitting import frontier as frontier
    from isoloss.fitting import inspect_runs as inspect_runs
    from isoloss.fitting import isoflop as isoflop
    from isoloss.fitting import overfitting as overfitting
    from isoloss.fitting import tokens_needed as tokens_needed
    from isoloss.fitting import tune as tune
    from isoloss.fitting import zhang_critical_batch as zhang_critical_batch
    from isoloss.laws import M3 as M3
    from isoloss.laws import M4 as M4
    from isoloss.laws import Allocation as Allocation
    from isoloss.laws import BrokenPowerLaw as BrokenPowerLaw
    from isoloss.laws import Chinchilla as Chinchilla
    from isoloss.laws import ChinchillaTied as ChinchillaTied
    from isoloss.laws import CriticalBatch as CriticalBatch
    from isoloss.laws import DataConstrained as DataConstrained
    from isoloss.laws import DownstreamError as DownstreamError
    from isoloss.laws import FineGrainedMoE as FineGrainedMoE
    from isoloss.laws import KaplanND as KaplanND
    from isoloss.laws import KaplanNS as KaplanNS
    from isoloss.laws import Overtraining as Overtraining
    from isoloss.laws import PowerLaw as PowerLaw
    from isoloss.laws import Precision as Precision
    from isoloss.laws import SaturatingPowerLaw as SaturatingPowerLaw
    from isoloss.laws import allocate as allocate
    from isoloss.laws import near_optimal as near_optimal
    from isoloss.laws import published as published
    from isoloss.noise import HessianNoiseScale as HessianNoiseScale
    from isoloss.noise import NoiseScale as NoiseScale
    from isoloss.noise import adaptive_gain as adaptive_gain
    from isoloss.noise import hessian_noise_scale as hessian_noise_scale
    from isoloss.noise import noise_scale as noise_scale
    from isoloss.planning import Design as Design
    from isoloss.planning import Plan as Plan
    from isoloss.planning import Recipe as Recipe
    from isoloss.planning import grid_design as grid_design
    from isoloss.planning import isoflop_design as isoflop_design
    from isoloss.planning import kaplan_design as kaplan_design
    from isoloss.planning import ladder_design as ladder_design
    from isoloss.planning import plan as plan
    from isoloss.planning import published_plans as published_plans
    from isoloss.reporting import report as report
    from isoloss.runs import NoiseSeries as NoiseSeries
    from isoloss.runs import NoiseWindow as NoiseWindow
    from isoloss.runs import Runs as Runs
    from isoloss.runs import RunSpec as RunSpec
    from isoloss.runs import Schedule as Schedule
    from isoloss.runs import noise_along as noise_along
    from isoloss.runs import pack_records as pack_records
    from isoloss.runs import read_noise as read_noise
    from isoloss.runs import read_record as read_record
    from isoloss.runs import read_runs as read_runs
    from isoloss.runs import read_sweep as read_sweep
    from isoloss.runs import write_runs as write_runs
    from isoloss.runs import write_sweep as write_sweep
    from isoloss.trust import Approaches as Approaches
    from isoloss.trust import Backtest as Backtest
    from isoloss.trust import Choice as Choice
    from isoloss.trust import Comparison as Comparison
    from isoloss.trust import Conventions as Conventions
    from isoloss.trust import Course as Course
    from isoloss.trust import CurveForecast as CurveForecast
    from isoloss.trust import Draws as Draws
    from isoloss.trust import FittedLaw as FittedLaw
    from isoloss.trust import Forecast as Forecast
    from isoloss.trust import ForecastModel as ForecastModel
    from isoloss.trust import Interval as Interval
    from isoloss.trust import Outcome as Outcome
    from isoloss.trust import Profile as Profile
    from isoloss.trust import RollingBacktest as RollingBacktest
    from isoloss.trust import Target as Target
    from isoloss.trust import approaches as approaches
    from isoloss.trust import backtest as backtest
    from isoloss.trust import backtest_fit as backtest_fit
    from isoloss.trust import backtest_line as backtest_line
    from isoloss.trust import bootstrap as bootstrap
    from isoloss.trust import choose as choose
    from isoloss.trust import compare as compare
    from isoloss.trust import compute_multiplier as compute_multiplier
    from isoloss.trust import conventions as conventions
    from isoloss.trust import forecast_curve as forecast_curve
    from isoloss.trust import make_forecasts as make_forecasts
    from isoloss.trust import profile as profile
    from isoloss.trust import read_fit as read_fit
    from isoloss.trust import read_forecasts as read_forecasts
    from isoloss.trust import rolling_backtest as rolling_backtest
    from isoloss.trust import track as track
    from isoloss.trust import write_forecasts as write_forecasts

_ROOMS = {
    "counting": "Family NConvention Shape activation_bytes checkpoint_bytes count_all count_params "
    "family_cost flops_all flops_per_token kv_cache_bytes lstm_near params_by_group read_config "
    "shape_near training_memory",
    "errors": "FitError InputError IsolossError Status UnidentifiedError",
    "fitting": "CriticalBatchFit Crossings DownstreamFit Fit Frontier SharedFit Tuning "
    "batch_rate_rule correct_isoflop critical_batch crossings earliest_stop envelope fit "
    "fit_downstream fit_positions fit_shared frontier inspect_runs isoflop "
    "overfitting tokens_needed tune zhang_critical_batch",
    "laws": "Allocation BrokenPowerLaw Chinchilla ChinchillaTied CriticalBatch DataConstrained "
    "DownstreamError FineGrainedMoE KaplanND KaplanNS M3 M4 Overtraining PowerLaw "
    "Precision SaturatingPowerLaw allocate near_optimal published",
    "noise": "HessianNoiseScale NoiseScale adaptive_gain hessian_noise_scale noise_scale",
    "planning": "Design Plan Recipe grid_design isoflop_design kaplan_design ladder_design plan "
    "published_plans",
    "reporting": "report",
    "runs": "NoiseSeries NoiseWindow RunSpec Runs Schedule noise_along pack_records read_noise "
    "read_record read_runs read_sweep write_runs write_sweep",
    "trust": "Approaches Backtest Choice Comparison Conventions Course CurveForecast Draws "
    "FittedLaw Forecast ForecastModel Interval Outcome Profile RollingBacktest Target approaches "
    "backtest backtest_fit backtest_line bootstrap choose compare compute_multiplier conventions "
    "forecast_curve make_forecasts profile read_fit read_forecasts rolling_backtest track "
    "write_forecasts",
}
_HOME = {name: room for room, names in _ROOMS.items() for name in names.split()}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("isoloss")
    if name not in _HOME:
        raise AttributeError(f"module 'isoloss' has no attribute {name!r}")
    from importlib import import_module

    value: object = getattr(import_module(f"isoloss.{_HOME[name]}"), name)
    globals()[name] = value  # the next use finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
