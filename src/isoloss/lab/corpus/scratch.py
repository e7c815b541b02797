"""A folder to build in beside the thing being built, gone afterwards whatever happens."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder `.NAME.PID.tmp` beside `target`; remove it in the end.

    Those that killed processes left for the same target are removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    ours = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.tmp")
    for left in target.parent.iterdir():
        match = ours.fullmatch(left.name)
        if match is not None and not _is_alive(int(match[1])):
            shutil.rmtree(left, ignore_errors=True)
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
