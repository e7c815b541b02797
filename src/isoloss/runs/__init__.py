"""The waist: what a run is, its record on disk, and tables of runs from anywhere."""

from isoloss.runs.held_out import HeldOutLosses, OtherLoss
from isoloss.runs.journal import RecordInUseError
from isoloss.runs.machine import describe_machine, versions
from isoloss.runs.noise_series import NoiseSeries, NoiseWindow, noise_along, read_noise
from isoloss.runs.rate_rules import RATE_RULES, ruled_decay, ruled_rate
from isoloss.runs.reading import read_runs, write_runs
from isoloss.runs.record import (
    End,
    Noise,
    Point,
    RecordWriter,
    Run,
    content,
    read_record,
)
from isoloss.runs.schedules import (
    HOFFMANN_CYCLES,
    KAPLAN_SCHEDULES,
    Schedule,
    rate_sum,
    scheduled_rate,
    scheduled_rates,
    warmup_steps,
)
from isoloss.runs.spec import RunSpec
from isoloss.runs.stored import pack_records
from isoloss.runs.sweep_file import read_sweep, sweep_text, write_sweep
from isoloss.runs.table import Runs
from isoloss.runs.transfer import on_corpus
from isoloss.runs.trunks import cooldown_runs, kept_path, share_trunk, trunk_of, with_trunks
from isoloss.runs.tuned_rates import tuned_rates

__all__ = [
    "HOFFMANN_CYCLES",
    "KAPLAN_SCHEDULES",
    "RATE_RULES",
    "End",
    "HeldOutLosses",
    "Noise",
    "NoiseSeries",
    "NoiseWindow",
    "OtherLoss",
    "Point",
    "RecordInUseError",
    "RecordWriter",
    "Run",
    "RunSpec",
    "Runs",
    "Schedule",
    "content",
    "cooldown_runs",
    "describe_machine",
    "kept_path",
    "noise_along",
    "on_corpus",
    "pack_records",
    "rate_sum",
    "read_noise",
    "read_record",
    "read_runs",
    "read_sweep",
    "ruled_decay",
    "ruled_rate",
    "scheduled_rate",
    "scheduled_rates",
    "share_trunk",
    "sweep_text",
    "trunk_of",
    "tuned_rates",
    "versions",
    "warmup_steps",
    "with_trunks",
    "write_runs",
    "write_sweep",
]
