"""A law fitted and resampled, as one of several in a view: refused, it leaves what there is."""

from __future__ import annotations

from typing import NamedTuple

from isoloss.errors import FitError, IsolossError
from isoloss.fitting.parametric import Fit, fit
from isoloss.laws.forms import Law
from isoloss.runs import Runs
from isoloss.trust.draws import Draws, bootstrap


class Trial(NamedTuple):
    """A fit and its draws, or what there is of them.

    fit: None if not even a doubtful one was found. draws: None where the runs do not allow them;
    `refusal` then says why, and is empty otherwise.
    """

    fit: Fit | None
    draws: Draws | None
    refusal: str


def trial(form: type[Law], runs: Runs, *, draws: int, seed: int) -> Trial:
    """Fit a law and resample it; of a refused fit keep what it carries, its doubts above all.

    form, runs: as in `fit`. draws, seed: as in `bootstrap`. Raises nothing of ours: see `Trial`.
    """
    found = None
    try:
        found = fit(form, runs)
        return Trial(found, bootstrap(found.check(), draws=draws, seed=seed), "")
    except IsolossError as error:
        if isinstance(error, FitError) and isinstance(error.partial, Fit):
            found = error.partial
        return Trial(found, None, str(error))
