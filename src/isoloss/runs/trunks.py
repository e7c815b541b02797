"""Many token counts from one run: a trunk at a constant rate, and cool-downs that leave it.

A run whose rate falls over all of its length serves one number of tokens. A trunk is held at a
constant rate, and a run that ends at any point of it is the trunk up to there and a cool-down, so
only the cool-downs are paid for anew. Such a run is described as if it were trained from the start,
by `wsd` or `wsd_sqrt`, and gives the same numbers; its `trunk` says that the steps before the
cool-down may be taken from a run at a constant rate of that many tokens.

Source: Hagele et al. 2024 (arXiv:2405.18392). Their cool-downs take a fifth of the run or less and
end at zero; the best rate of a trunk is about half of a cosine's peak, so tune it apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from isoloss.errors import InputError
from isoloss.runs.checks import whole_of
from isoloss.runs.schedules import Schedule, warmup_steps
from isoloss.runs.spec import RunSpec

TRUNK_GROUP = "trunk"


def cooldown_runs(
    spec: RunSpec,
    tokens: Sequence[int | float | str],
    *,
    cooldown: float = 0.2,
    kind: Literal["wsd", "wsd_sqrt"] = "wsd_sqrt",
    final: float = 0.0,
) -> tuple[RunSpec, ...]:
    """Return one run for each number of tokens, all of them branches of one trunk.

    spec: everything else; of its schedule the warm-up stays, as many steps as the longest run has.
    tokens: training tokens of each run. cooldown: the share of each run that cools. kind, final: of
    the cool-down.
    `trunk_of` gives the trunk; a sweep trains it first by itself. `planning.sweep_cost` says what
    such a sweep costs against separate runs. Raises InputError if there are no tokens, or too few
    to warm up.
    """
    counts = [whole_of(count, "tokens") for count in tokens]
    if not counts:
        raise InputError("tokens is empty; give at least one number of training tokens")
    schedule = replace(spec.schedule, kind=kind, decay=cooldown, final=final, cycle=1.0, power=1.0)
    return share_trunk([replace(spec, tokens=count, schedule=schedule) for count in counts])


def share_trunk(specs: Sequence[RunSpec]) -> tuple[RunSpec, ...]:
    """Return runs that differ in tokens alone as branches of the shortest trunk that serves all.

    specs: with a wsd or wsd_sqrt schedule; the warm-up becomes that of the longest, in steps.
    Raises InputError for other schedules, and naming what differs besides.
    """
    first = specs[0]
    for spec in specs:
        alone = replace(spec, tokens=first.tokens, group=first.group)
        if alone != first:
            mine, other = alone.to_dict(), first.to_dict()
            what = next(key for key in {**mine, **other} if mine.get(key) != other.get(key))
            raise InputError(f"runs of one trunk differ in tokens alone, and these do in {what}")
    longest = max(specs, key=lambda spec: spec.steps)
    schedule = replace(longest.schedule, warmup_steps=warmup_steps(longest.schedule, longest.steps))
    whole = [replace(spec, schedule=schedule, trunk=0) for spec in specs]
    trunk = max(spec.cooling_step for spec in whole) * first.batch
    return tuple(replace(spec, trunk=trunk) for spec in whole)


def trunk_of(spec: RunSpec) -> RunSpec:
    """Return the run at a constant rate that a branch leaves; InputError for a run without one."""
    if not spec.trunk:
        raise InputError(f"the run {spec.run_id} leaves no trunk: its trunk is 0")
    warmup = warmup_steps(spec.schedule, spec.steps)
    schedule = Schedule("constant", warmup_steps=warmup)
    return replace(spec, tokens=spec.trunk, trunk=0, schedule=schedule, group=TRUNK_GROUP)


def kept_path(folder: Path, trunk: str, step: int) -> Path:
    """Return where the state of a trunk, named by its run_id, after `step` steps is kept.

    It lies beside the records and stays when the trunk is done, so that further branches can leave
    it; nothing reads it once no more of them are wanted.
    """
    return folder / f"{trunk}.step{step}.npz"


def with_trunks(specs: Iterable[RunSpec]) -> tuple[RunSpec, ...]:
    """Return the runs, and after them every trunk that one of them leaves and that is not there."""
    given = tuple(specs)
    found = {spec.run_id for spec in given}
    trunks = {trunk.run_id: trunk for trunk in (trunk_of(spec) for spec in given if spec.trunk)}
    return (*given, *(trunk for name, trunk in trunks.items() if name not in found))
