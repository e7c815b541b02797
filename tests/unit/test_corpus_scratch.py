"""The folder to build in: what dead processes left goes, what anyone else made stays."""

from __future__ import annotations

import os
from pathlib import Path

from isoloss.lab.corpus.scratch import scratch_folder

NO_PROCESS = 2**22 + 1  # above the largest number Linux gives to a process


def test_only_the_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    dead = [f".set.{NO_PROCESS}.tmp", f".set.{10**30}.tmp"]
    others = [".set.old.tmp", f".set.1.{NO_PROCESS}.tmp", f".set.{os.getppid()}.tmp", ".sett.9.tmp"]
    for name in (*dead, *others):
        (tmp_path / name).mkdir()
    with scratch_folder(tmp_path / "set") as folder:
        assert folder.parent == tmp_path
        assert list(folder.iterdir()) == []
        (folder / "part").touch()
    assert sorted(child.name for child in tmp_path.iterdir()) == sorted(others)
