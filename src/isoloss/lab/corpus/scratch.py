"""A folder to build in beside the thing being built, gone when that is done.

Long work may leave it to be gone on with.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield an empty folder `.NAME.PID.tmp` beside `target`; remove it in the end.

    Those that killed processes left for the same target are removed first.
    """
    with resumable_folder(target, lambda folder: False) as folder:
        yield folder


@contextmanager
def resumable_folder(target: Path, wanted: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield such a folder, one that was left unfinished where there is one to go on with.

    wanted: asked about a folder that a killed process left, and after a failure about this one:
    whether the same work could go on from what is in it. If so it is kept, else removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    ours = re.compile(rf"\.{re.escape(target.name)}\.(\d+)\.tmp")
    for left in sorted(target.parent.iterdir()):
        match = ours.fullmatch(left.name)
        if match is None or (left != folder and _is_alive(int(match[1]))):
            continue
        if wanted(left) and (left == folder or not folder.exists()):
            with suppress(OSError):  # another process took it up first
                os.replace(left, folder)
        else:
            shutil.rmtree(left, ignore_errors=True)
    folder.mkdir(exist_ok=True)
    try:
        yield folder
    except BaseException:
        if not wanted(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
