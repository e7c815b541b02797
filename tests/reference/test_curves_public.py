"""Real curves with their last part hidden: (Mis)Fitting, cosine to 10 %, 50 warm-up steps.

A slice of benchmarks/curve_forecast.py on odd-numbered runs, which no number was chosen on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isoloss.runs import Schedule, read_runs
from isoloss.trust import forecast_curve

SCHEDULE = Schedule("cosine", final=0.1)


@pytest.mark.parametrize("hidden", [0.5, 0.75])
def test_the_end_is_foreseen_far_better_than_by_the_last_value(
    shared_data: Path, hidden: float
) -> None:
    table = read_runs(shared_data / "misfitting_curves.csv.gz")
    step = np.round(table.d / table.batch)
    names, number = np.unique(table.run, return_inverse=True)
    length = np.zeros(len(names))
    np.maximum.at(length, number, step)
    long = [i for i in np.flatnonzero(length >= 4000) if int(names[i]) % 2 == 1][::9]
    errors, last, inside = [], [], []
    for i in long:
        mine = number == i
        seen = mine & (step <= length[i] * (1 - hidden))
        family = (number % 3 == i % 3) & ~mine  # a third of the sisters is enough, and quicker
        end = float(table.loss[mine & (step == length[i])][0])
        found = forecast_curve(
            table[seen | family], str(names[i]), int(length[i]), schedule=SCHEDULE, warmup=50
        )
        low, mid, high = found.at(int(length[i]))
        errors.append(abs(mid / end - 1))
        last.append(float(table.loss[seen][-1]) / end - 1)
        inside.append(low <= end <= high)
    assert len(long) >= 4
    assert np.median(errors) < 0.25 * np.median(last)
    assert np.median(errors) < 0.025
    assert np.mean(inside) >= 0.6
