"""The waist: what a run is, its record on disk, and tables of runs from anywhere."""

from isoloss.runs.machine import describe_machine, versions
from isoloss.runs.record import End, Noise, Point, RecordWriter, Run, content, read_record
from isoloss.runs.spec import RunSpec, Schedule, read_sweep
from isoloss.runs.table import Runs

__all__ = [
    "End",
    "Noise",
    "Point",
    "RecordWriter",
    "Run",
    "RunSpec",
    "Runs",
    "Schedule",
    "content",
    "describe_machine",
    "read_record",
    "read_sweep",
    "versions",
]
