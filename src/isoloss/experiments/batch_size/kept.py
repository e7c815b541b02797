"""Numbers kept in files: strict JSON, which has no infinity and no codes."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from isoloss.errors import InputError
from isoloss.files import write_whole


def write_json(path: Path, value: Any) -> None:
    """Write mappings, lists, arrays, numbers; null for what is not finite, a code by its name."""
    write_whole(path, json.dumps(plain(value), indent=1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """What a file holds; raises InputError where that is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{path}: is not whole; remove it, and it is made again") from None


def claim_page(folder: Path, name: str) -> None:
    """Raise InputError where a folder's `name`.md or .json is no study's; figures may go."""
    kept = folder / f"{name}.json"
    found = next((one for one in (kept, kept.with_suffix(".md")) if one.exists()), None)
    if found is None:
        return
    try:
        numbers = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        numbers = None
    runs = [*folder.glob("runs*/scan.json"), *folder.glob("*/runs/scan.json")]
    if not runs and not (isinstance(numbers, dict) and "machine" in numbers):
        raise InputError(f"{found} is there, and no study's: name another folder, or move it")


def plain(value: Any) -> Any:
    """What JSON has: lists for arrays, names for codes, null for what is not finite."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
