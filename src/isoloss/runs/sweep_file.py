"""Sweep files: TOML that lists runs, read and written.

What a run may say in a file and a `RunSpec` cannot: `lr_from = "tuned.csv"` takes its rate from the
table that `isoloss tune --out` wrote, beside this file; `force_rules = true` asks that table, or
a rule such as `lr = "step-law"`, outside the range it was measured in too; `trunk = "shared"`
makes the runs of one [[run]] that differ in tokens alone branches of one trunk.
`eval_corpora`, a list of names, is one value, not one for each run.

A sweep is a TOML file. `[defaults]` holds for every `[[run]]`; a list expands into one run for
each of its values, and several lists into their product; `shape` may be a list of tables:

    [defaults]
    corpus = "python-stdlib"
    lr = 0.005
    batch = 1024
    [defaults.shape]
    vocab = 256
    n_ctx = 128

    [[run]]
    group = "isoflop"
    shape = [{ n_layer = 2, d_model = 16, n_heads = 2 }, { n_layer = 3, d_model = 32, n_heads = 2 }]
    tokens = ["600K", "1.2M"]
    seed = [0, 1]
"""

from __future__ import annotations

import itertools
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from isoloss.errors import InputError
from isoloss.files import write_whole
from isoloss.runs.checks import refuse_unknown
from isoloss.runs.rate_rules import follow_rules, is_rule
from isoloss.runs.schedules import Schedule
from isoloss.runs.spec import RunSpec
from isoloss.runs.trunks import share_trunk
from isoloss.runs.tuned_rates import tuned_rates

SHARED = "shared"
_WHOLE = "eval_corpora"  # a list that is one value
_FIRST = ("group", "shape", "tokens", "batch", "lr")


def read_sweep(path: str | Path) -> tuple[RunSpec, ...]:
    """Read the runs of a sweep from a TOML file (its form is in the module's docstring).

    Returns the specs in file order, a list's values expanded in order, the last list fastest.
    Raises InputError naming the file and the run: unreadable TOML, an unknown key (with the
    nearest known one), a value out of range, or the same run listed twice.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; give a sweep written in TOML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from None
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{path}: not valid TOML: {error}") from None
    try:
        refuse_unknown(data, ["defaults", "run"], "sweep")
        runs = data.get("run", [])
        if not isinstance(runs, list) or not runs:
            raise InputError("no [[run]] table; write one for each run or group of runs")
        defaults = data.get("defaults", {})
        if not isinstance(defaults, dict):
            raise InputError("`defaults` must be a table: write [defaults]")
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    specs: list[RunSpec] = []
    seen: dict[str, int] = {}
    for number, run in enumerate(runs, start=1):
        try:
            if not isinstance(run, dict):
                raise InputError(f"is {run!r}; write it as a table, [[run]]")
            tables = list(_expand(_merge(defaults, run)))
            if not tables:
                raise InputError("lists no run: one of its lists is empty")
            for spec in _specs(tables, path.parent):
                if spec.run_id in seen:
                    raise InputError(
                        f"the run {spec.run_id} is already listed by [[run]] number "
                        f"{seen[spec.run_id]}; change a value such as seed, or remove one"
                    )
                seen[spec.run_id] = number
                specs.append(spec)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: [[run]] number {number}: {error}") from None
    return tuple(specs)


def _specs(tables: list[dict[str, Any]], folder: Path) -> list[RunSpec]:
    """The runs of one [[run]], with what only a sweep file can say made numbers."""
    found: dict[int, RunSpec] = {}
    shared: dict[str, list[int]] = {}
    for place, table in enumerate(tables):
        if table.get("trunk") == SHARED:
            found[place] = _ruled({k: v for k, v in table.items() if k != "trunk"}, folder)
            alike = replace(found[place], tokens=found[place].batch, schedule=Schedule())
            key = f"{alike.run_id} {found[place].schedule}"
            shared.setdefault(key, []).append(place)
        else:
            found[place] = _ruled(table, folder)
    for places in shared.values():
        branches = share_trunk([found[place] for place in places])
        found.update(zip(places, branches, strict=True))
    return [found[place] for place in range(len(tables))]


def _ruled(table: dict[str, Any], folder: Path) -> RunSpec:
    """One run, its rate from a tuned sweep or a rule where the table says so."""
    force = table.pop("force_rules", False)
    if not isinstance(force, bool):
        raise InputError(f"force_rules is {force!r}; it must be true or false")
    tuned = table.pop("lr_from", None)
    lr, decay = table.get("lr"), table.get("weight_decay", RunSpec.weight_decay)
    if tuned is None and not (force and (is_rule(lr) or is_rule(decay))):
        return RunSpec.from_dict(table)
    if tuned is not None and lr is not None:
        raise InputError("gives both lr and lr_from; leave one out")
    # With any rate first: what the rules look at is checked before they do.
    plain = RunSpec.from_dict({**table, "lr": 1.0, "weight_decay": 0.0})
    if tuned is not None:
        lr = tuned_rates(folder / str(tuned))(plain.shape, plain.tokens, force=force)
    rules = follow_rules(plain.shape, plain.tokens, plain.batch, lr, decay, force=force)
    return RunSpec.from_dict({**table, "lr": rules[0], "weight_decay": rules[1]})


def _merge(defaults: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    # The run's own keys come last, in its order: its last list is the fastest.
    merged = {key: value for key, value in defaults.items() if key not in run} | dict(run)
    for mine, other in (("lr", "lr_from"), ("lr_from", "lr")):
        if mine in run and other not in run:
            merged.pop(other, None)
    for name in ("shape", "schedule"):
        base, own = _table(defaults.get(name, {})), run.get(name)
        if own is None or not isinstance(base, dict):
            continue
        if isinstance(own, list):
            merged[name] = [_over(base, _table(one)) for one in own]
        else:
            merged[name] = _over(base, _table(own))
    return merged


def _table(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def _over(base: Mapping[str, Any], own: Any) -> Any:
    return {**base, **own} if isinstance(own, dict) else own


def _expand(table: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield one table for each combination of the values of its lists, at any depth."""
    choices: list[list[Any]] = []
    for name, value in table.items():
        options = value if isinstance(value, list) and name != _WHOLE else [value]
        choices.append(
            [o for one in options for o in (_expand(one) if isinstance(one, dict) else [one])]
        )
    for combination in itertools.product(*choices):
        yield dict(zip(table, combination, strict=True))


def sweep_text(specs: Sequence[RunSpec], *, title: str = "") -> str:
    """Write runs as the text of a sweep file, one [[run]] for each.

    What all runs share stands under [defaults], in shapes and schedules too. title: a comment.
    Returns TOML. Raises InputError if there is no run.
    """
    if not specs:
        raise InputError("a sweep file lists at least one run; there is none to write")
    tables = [spec.to_dict() for spec in specs]
    shared = _shared(tables)
    nested = {name: _shared([table[name] for table in tables]) for name in ("shape", "schedule")}
    lines = [f"# {line}" for line in title.splitlines()]
    lines.append("[defaults]")
    lines += [f"{name} = {_value(value)}" for name, value in shared.items() if name not in nested]
    for name, values in nested.items():
        if values:
            lines += [f"[defaults.{name}]", *(f"{k} = {_value(v)}" for k, v in values.items())]
    for table in tables:
        own = {name: value for name, value in table.items() if name not in shared}
        for name, values in nested.items():
            own |= {name: {k: v for k, v in table[name].items() if k not in values}}
        named = sorted(own, key=lambda key: _FIRST.index(key) if key in _FIRST else len(_FIRST))
        written = [f"{name} = {_value(own[name])}" for name in named if own[name] != {}]
        lines += ["", "[[run]]", *written]
    return "\n".join(lines) + "\n"


def write_sweep(path: str | Path, specs: Sequence[RunSpec], *, title: str = "") -> None:
    """Write runs as a sweep file, whole or not at all; see `sweep_text`.

    Raises InputError if there is no run, or the file cannot be written.
    """
    write_whole(path, sweep_text(specs, title=title))


def _shared(tables: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    first = tables[0]
    return {k: v for k, v in first.items() if all(k in t and t[k] == v for t in tables)}


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name} = {_value(one)}" for name, one in value.items())
        return f"{{ {inner} }}"
    # TOML's basic strings, numbers and booleans are JSON's, but for the delete character.
    return json.dumps(value, allow_nan=False).replace("\x7f", "\\u007f")
