"""One line of a record as the value it stands for: it may hold anything, and is not trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any, TypeVar

from isoloss.errors import InputError

_KINDS: Mapping[str, tuple[type, ...]] = {"float": (int, float), "int": (int,), "str": (str,)}
_LARGEST = 1 << 63

_WHAT_WAS_CHOSEN = {"batch": "int", "lr": "float", "seed": "int"}
_CHOSEN_SINCE = {"trunk": "int", "patience": "int", "weight_decay": "float"}
_OF_THE_TEXT = {"name": "str", "hash": "str", "tokens": "float", "bytes_per_token": "float"}

_Form = TypeVar("_Form")


def build(form: type[_Form], values: Mapping[str, Any], where: str) -> _Form:
    """Build a dataclass of numbers, texts and tuples of them from what JSON has under its fields.

    null is how a NaN is written; other keys are of a newer isoloss, and passed over.
    where: what it is, for the message. Raises InputError naming the field that is missing or wrong.
    """
    built: dict[str, Any] = {}
    wanted = fields(form)  # type: ignore[arg-type]
    for one in wanted:
        if one.name in values:
            built[one.name] = _value(values[one.name], str(one.type), f"{where} has", one.name)
    try:
        return form(**built)
    except TypeError:
        needed = [one.name for one in wanted if one.default is MISSING]
        missing = ", ".join(name for name in needed if name not in built)
        raise InputError(f"{where} lacks {missing}") from None


def check_header(line: Mapping[str, Any], where: str) -> None:
    """Raise InputError unless the spec line is of the kinds that its readers rely on."""
    for key in ("run", "spec", "params", "n", "flops_per_token", "corpus", "machine", "versions"):
        if key not in line:
            raise InputError(f"{where}: the spec line has no {key!r}")
    for key in ("params", "n", "flops_per_token"):
        _check_numbers(line[key], f"{where}: {key!r}")
    _check_fields(line["spec"], _WHAT_WAS_CHOSEN, f"{where}: 'spec'")
    _check_fields(line["spec"], _CHOSEN_SINCE, f"{where}: 'spec'", need=False)
    if line["spec"]["batch"] < 1:
        raise InputError(f"{where}: 'spec' has a batch of {line['spec']['batch']}")
    _check_fields(line["corpus"], _OF_THE_TEXT, f"{where}: 'corpus'", need=False)
    if (subset := line["corpus"].get("subset")) is not None:
        _check_fields(subset, {"tokens": "float"}, f"{where}: 'subset'", need=False)
    _check_fields(line["corpus"].get("eval_corpora", {}), {}, f"{where}: 'eval_corpora'")
    for key in ("machine", "versions"):
        _check_fields(line[key], {}, f"{where}: {key!r}")


def _check_numbers(values: object, where: str) -> None:
    """Raise InputError unless this is an object of numbers."""
    if not isinstance(values, dict):
        raise InputError(f"{where} is no object")
    for name, value in values.items():
        if value is None:
            raise InputError(f"{where} has no number under {name!r}")
        _value(value, "float", f"{where} has", name)


def _check_fields(values: object, kinds: Mapping[str, str], where: str, need: bool = True) -> None:
    """Raise InputError unless this is an object whose fields are of these kinds (int, float, str).

    need: whether all of them must be there.
    """
    if not isinstance(values, dict):
        raise InputError(f"{where} is no object")
    for name, kind in kinds.items():
        if name in values:
            _value(values[name], kind, f"{where} has", name)
        elif need:
            raise InputError(f"{where} has no {name!r}")


def _value(value: object, kind: str, what: str, name: str) -> Any:
    inner = kind.removeprefix("tuple[").removesuffix(", ...]")
    if inner != kind:
        if not isinstance(value, list):
            raise InputError(f"{what} no list under {name!r}")
        return tuple(_value(item, inner, what, name) for item in value)
    if kind not in _KINDS:  # of a form of its own, which was built before
        return value
    if value is None and kind == "float":
        return math.nan
    if not isinstance(value, _KINDS[kind]) or isinstance(value, bool):
        raise InputError(f"{what} no {kind} under {name!r}")
    if isinstance(value, int) and abs(value) >= _LARGEST:
        raise InputError(f"{what} a number under {name!r} that is too large to be one")
    return value
