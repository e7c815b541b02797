"""Which law the demo forecasts with: both of two, and the one that predicts the sweep better.

Hoffmann's law has a floor E that small runs hardly see, Kaplan's has none; which serves better at
the demo's sizes is for the runs to say, and they say it before anything is forecast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from isoloss.errors import FitError, InputError
from isoloss.fitting import fit
from isoloss.laws import Chinchilla, KaplanND
from isoloss.runs import Runs
from isoloss.trust import Backtest, Draws, backtest, bootstrap

FORMS = (Chinchilla, KaplanND)


@dataclass(frozen=True)
class Candidate:
    """A form fitted to the sweep.

    draws: the law, resampled. backtest: None where the runs allow none. spread: standard deviation
    of the residuals of log loss, with m - p degrees of freedom for m runs and p coefficients.
    """

    draws: Draws
    backtest: Backtest | None
    spread: float

    @property
    def name(self) -> str:
        """The form's name."""
        return self.draws.fit.form.__name__


def candidates(
    runs: Runs, *, draws: int, seed: int, say: Callable[[str], None]
) -> tuple[Candidate, ...]:
    """Fit both forms to the sweep, the better first; one that the runs do not fix is left out.

    Better is the smaller median error in the back-test, by the law alone, where both have one, else
    the smaller spread of residuals. The rule sees the sweep alone, never the runs to be forecast.
    Raises FitError or UnidentifiedError if the runs fix neither.
    """
    found: list[Candidate] = []
    for form in FORMS:
        try:
            found.append(_candidate(form, runs, draws, seed))
        except FitError as error:
            say(f"    left out: {error}")
            refusal = error
    if not found:
        raise refusal
    tested = [c.backtest.median_error for c in found if c.backtest is not None]
    scores = tested if len(tested) == len(found) else [c.spread for c in found]
    ranked = tuple(found[i] for i in np.argsort(scores, kind="stable"))
    what = "back-test error" if scores is tested else "spread of residuals"
    told = ", ".join(f"{c.name} {100 * s:.2f} %" for c, s in zip(found, scores, strict=True))
    say(f"    {what}: {told}; forecasting with {ranked[0].name}")
    return ranked


def _candidate(
    form: type[Chinchilla] | type[KaplanND], runs: Runs, draws: int, seed: int
) -> Candidate:
    fitted = fit(form, runs).check()
    try:
        tested = backtest(form, runs, seed=seed, forecast="plain")
    except (FitError, InputError):
        tested = None
    spare = max(1, len(runs) - len(fitted.coefficients))
    spread = float(np.sqrt(np.sum(np.square(fitted.residuals)) / spare))
    return Candidate(bootstrap(fitted, draws=draws, seed=seed), tested, spread)
