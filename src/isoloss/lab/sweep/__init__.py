"""Run many training runs on this machine, each exactly once, whatever is killed on the way."""

from __future__ import annotations

from isoloss.lab.sweep.display import auto_display
from isoloss.lab.sweep.local import run_sweep
from isoloss.lab.sweep.preview import dry_run, given_tokens, prepare_tokens, tokens_there
from isoloss.lab.sweep.state import RunProgress, SweepInterrupted, SweepProgress, SweepResult

__all__ = [
    "RunProgress",
    "SweepInterrupted",
    "SweepProgress",
    "SweepResult",
    "auto_display",
    "dry_run",
    "given_tokens",
    "prepare_tokens",
    "run_sweep",
    "tokens_there",
]
