"""What can go wrong while real models train: every run ends in its record, or goes on from it."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from isoloss.counting import Shape
from isoloss.errors import IsolossError
from isoloss.lab.models import make_model
from isoloss.lab.sweep import SweepResult, run_sweep
from isoloss.lab.tokens import TokenSet, load_tokens, prepare
from isoloss.lab.train import train
from isoloss.lab.training.checkpoint import (
    DamagedCheckpoint,
    RunWarning,
    State,
    load_checkpoint,
    save_checkpoint,
)
from isoloss.lab.training.optim import make_optimizer
from isoloss.runs import (
    RunSpec,
    Schedule,
    content,
    kept_path,
    read_record,
    read_runs,
    share_trunk,
    trunk_of,
)

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="maps files as Linux does")
SMALL = Shape(n_layer=1, d_model=8, n_heads=2, vocab=256, n_ctx=32)


def small(seed: int, **changes: Any) -> RunSpec:
    spec = RunSpec(
        SMALL, tokens=6400, batch=64, lr=0.01, eval_points=6, eval_block=512, eval_final=1024
    )
    return replace(spec, seed=seed, **changes)


SPECS = [small(seed) for seed in range(4)]


class News:
    """A progress callback that keeps the news."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __call__(self, picture: Any) -> None:
        self.lines += picture.news

    def about(self, *words: str) -> list[str]:
        return [line for line in self.lines if all(word in line for word in words)]


def sweep(
    specs: Sequence[RunSpec],
    tokens: TokenSet,
    folder: Path,
    trainer: str = "isoloss.lab.train:train",
    *,
    news: Callable[[Any], None] | None = None,
    workers: int = 1,
    retries: int = 2,
) -> SweepResult:
    return run_sweep(
        specs,
        tokens.folder,
        folder,
        workers=workers,
        progress=news or News(),
        trainer=trainer,
        checkpoint_seconds=0.0,
        retries=retries,
    )


def contents(folder: Path) -> dict[str, Any]:
    return {path.name: content(read_record(path)) for path in folder.glob("*.jsonl")}


def fault(folder: Path, *faults: tuple[int, str, int]) -> None:
    folder.parent.mkdir(exist_ok=True)
    (folder.parent / "faults.json").write_text(json.dumps(faults))


def only_records(folder: Path) -> bool:
    return {path.suffix for path in folder.iterdir()} == {".jsonl"}


@pytest.fixture(scope="module")
def undisturbed(tokens: TokenSet, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The records of the runs left alone, trained here."""
    folder = tmp_path_factory.mktemp("alone")
    for spec in SPECS:
        train(spec, tokens, folder)
    return contents(folder)


@pytest.fixture
def text(tokens: TokenSet, tmp_path: Path) -> TokenSet:
    """A copy of the text that a test may break."""
    shutil.copytree(tokens.folder, tmp_path / "text")
    return load_tokens(tmp_path / "text")


def part_of(expected: dict[str, Any], specs: Sequence[RunSpec]) -> dict[str, Any]:
    return {f"{spec.run_id}.jsonl": expected[f"{spec.run_id}.jsonl"] for spec in specs}


# A learning rate 100 times too high.


def test_a_rate_100_times_too_high_ends_in_a_record_of_its_own(
    tokens: TokenSet, folder: Path
) -> None:
    good = small(0, optimizer="sgd", lr=0.3, clip=0.0)
    specs = [replace(good, lr=30.0), good]
    result = sweep(specs, tokens, folder)
    assert result.counts["diverged"] == result.counts["finished"] == 1
    assert result.complete
    assert only_records(folder)
    end = read_record(result.records[0]).end
    assert end is not None
    assert end.status == "diverged"
    assert end.reason == f"training loss was not finite at step {end.step}"
    assert end.step < specs[0].steps
    before = [path.read_bytes() for path in result.records]
    again = sweep(specs, tokens, folder)
    assert again.already == 2
    assert [path.read_bytes() for path in result.records] == before
    runs = read_runs(folder)
    assert runs.run is not None
    assert runs.run.tolist() == [good.run_id]
    assert any("1 of 2 runs diverged" in note for note in runs.notes)


@pytest.mark.full
def test_the_branches_of_a_trunk_that_diverged_diverge_too(tokens: TokenSet, folder: Path) -> None:
    hot = small(0, optimizer="sgd", lr=30.0, clip=0.0, schedule=Schedule("wsd", decay=0.2))
    branches = share_trunk([hot, replace(hot, tokens=9600)])
    result = sweep(branches, tokens, folder)
    assert result.counts["diverged"] == 3
    assert result.complete


# A full disk.


@pytest.mark.full
def test_a_full_disk_fails_runs_in_one_line_and_the_sweep_goes_on_when_there_is_space(
    tokens: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    train(SPECS[0], tokens, folder)
    with pytest.raises(_Stop):
        train(SPECS[1], tokens, folder, on_progress=_Stop.at(40), checkpoint_seconds=0.0)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder.parent / "full").touch()
    news = News()
    result = sweep(SPECS[:3], tokens, folder, "failing_trainers:full", news=news)
    assert result.counts["finished"] == 1
    assert result.counts["failed"] == 2
    wanted = "no space left on its disk; free some and run the same command again"
    assert all(reason.endswith(wanted) for _, reason in result.failures)
    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert {name: after[name] for name in before} == before
    assert not list(folder.glob("*.tmp")) + list(folder.glob(".*"))
    assert {read_record(path).finished for path in folder.glob("*.jsonl")} == {True, False}
    (folder.parent / "full").unlink()
    assert sweep(SPECS[:3], tokens, folder, "failing_trainers:full").complete
    assert contents(folder) == part_of(undisturbed, SPECS[:3])


class _Stop(Exception):
    """Ends a run in this process at a step, as a kill would."""

    @staticmethod
    def at(step: int) -> Callable[[Any], None]:
        def stop(progress: Any) -> None:
            if progress.step >= step:
                raise _Stop

        return stop


@pytest.fixture(autouse=True)
def progress_at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("isoloss.lab.train.PROGRESS_SECONDS", 0.0)


def test_a_run_does_without_the_checkpoints_that_the_disk_does_not_take(
    tokens: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    news = News()
    assert sweep(SPECS[:1], tokens, folder, "failing_trainers:small_disk", news=news).complete
    assert contents(folder) == part_of(undisturbed, SPECS[:1])
    told = news.about(SPECS[0].run_id, "cannot be written (No space left on device)")
    assert len(told) == 1
    assert only_records(folder)


@pytest.mark.full
def test_branches_do_without_the_states_that_the_disk_does_not_take(
    tokens: TokenSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = small(0, schedule=Schedule("wsd_sqrt", decay=0.3, warmup_steps=5, final=0.0))
    branches = share_trunk([spec, replace(spec, tokens=9600)])
    alone = [train(replace(branch, trunk=0), tokens, folder / "alone") for branch in branches]
    result = sweep(branches, tokens, folder, "failing_trainers:small_disk")
    assert result.complete
    ends = [read_record(path).end for path in result.records[:2]]
    assert [end.loss for end in ends if end] == [end.loss for end in alone]
    assert [end.start for end in ends if end] == [0, 0]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 256 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system can be mounted by root alone, and not everywhere")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("pages", [0, 2, 6])
@pytest.mark.full
def test_a_disk_that_fills_up_loses_nothing(
    pages: int, small_disk: Path, tokens: TokenSet, undisturbed: dict[str, Any]
) -> None:
    folder = small_disk / "runs"
    train(SPECS[0], tokens, folder)
    finished = (folder / f"{SPECS[0].run_id}.jsonl").read_bytes()
    with (small_disk / "filler").open("wb", buffering=0) as filler:
        free = os.statvfs(small_disk).f_bavail * 4096
        assert filler.write(bytes(free - pages * 4096)) == free - pages * 4096
    news = News()
    result = sweep(SPECS, tokens, folder, news=news, workers=2)
    assert result.counts["failed"] == 3 if pages == 0 else result.counts["finished"] > 1
    for _, reason in result.failures:
        assert reason.endswith(
            "no space left on its disk; free some and run the same command again"
        )
    assert (folder / f"{SPECS[0].run_id}.jsonl").read_bytes() == finished
    assert not [path for path in folder.iterdir() if path.name.endswith((".tmp", ".lock"))]
    for path in folder.glob("*.jsonl"):
        read_record(path)
    (small_disk / "filler").unlink()
    assert sweep(SPECS, tokens, folder, workers=2).complete
    assert contents(folder) == undisturbed
    assert (folder / f"{SPECS[0].run_id}.jsonl").read_bytes() == finished


# A worker killed at the worst of moments (test_sweep_kill does it at any).


@pytest.mark.full
def test_a_worker_killed_in_the_midst_of_a_checkpoint_loses_nothing(
    tokens: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    fault(folder, (0, "in checkpoint", 30))
    news = News()
    assert sweep(SPECS[:1], tokens, folder, "failing_trainers:struck", news=news).complete
    assert len(news.about("was lost (killed by SIGKILL")) == 1
    assert contents(folder) == part_of(undisturbed, SPECS[:1])
    assert only_records(folder)


@pytest.mark.full
def test_a_worker_killed_at_each_of_the_worst_moments_loses_nothing(
    tokens: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    deeds = ("in line", "in checkpoint", "before rename", "after rename", "in resume")
    fault(folder, *((0, deed, when) for when in (0, 1, 4) for deed in deeds))
    news = News()
    result = sweep(SPECS[:1], tokens, folder, "failing_trainers:struck", news=news, retries=20)
    assert result.complete
    # A run that is nearly done has no four lines left to be killed in, and resumes but once.
    left = json.loads((folder.parent / "faults.json").read_text())
    assert len(news.about("was lost (killed by SIGKILL")) == 15 - len(left) >= 8
    assert not [fault for fault in left if fault[2] == 0]
    assert contents(folder) == part_of(undisturbed, SPECS[:1])
    assert only_records(folder)


# A damaged checkpoint.


class _Trap:
    """Leaves a file behind if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def _with_arrays(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in stored.files}
    change(arrays)
    with path.open("wb") as file:
        np.savez(file, **arrays)


def _flip(path: Path, place: float = 0.5) -> None:
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 0xFF
    path.write_bytes(data)


def _pickled_array(path: Path) -> None:
    trap = np.array([_Trap(path.with_name("trapped"))], dtype=object)
    with zipfile.ZipFile(path, "a") as archive, archive.open("optimizer.0.x.npy", "w") as file:
        np.lib.format.write_array(file, trap, allow_pickle=True)


def _of_another_width(arrays: dict[str, Any]) -> None:
    arrays.update({name: a[..., :1] for name, a in arrays.items() if name.startswith("model.")})


def _without_a_moment(arrays: dict[str, Any]) -> None:
    del arrays["optimizer.1.exp_avg"]


def _with_a_wide_moment(arrays: dict[str, Any]) -> None:
    arrays["optimizer.0.exp_avg"] = np.zeros((3, 3), np.float32)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "flipped": _flip,
    "cut short": lambda path: os.truncate(path, path.stat().st_size // 2),
    "empty": lambda path: os.truncate(path, 0),
    "a pickle": lambda path: path.write_bytes(pickle.dumps(_Trap(path.with_name("trapped")))),
    "a pickle inside": _pickled_array,
    "text": lambda path: path.write_text("no checkpoint at all"),
    "another width": lambda path: _with_arrays(path, _of_another_width),
    "no moment": lambda path: _with_arrays(path, _without_a_moment),
    "a wide moment": lambda path: _with_arrays(path, _with_a_wide_moment),
    "no state": lambda path: _with_arrays(path, lambda arrays: arrays.pop("state")),
    "no number": lambda path: _with_arrays(
        path, lambda arrays: arrays["state"].__setitem__(0, np.nan)
    ),
    "one array": lambda path: shutil.copyfile(_one_array(path), path),
}


def _one_array(path: Path) -> Path:
    np.save(path.with_name("one.npy"), np.zeros(3))
    return path.with_name("one.npy")


def _trained(spec: RunSpec, path: Path) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """A model after two steps, and its checkpoint."""
    torch.manual_seed(3)
    model = make_model(spec.shape)
    optimizer = make_optimizer(model, spec)
    for _ in range(2):
        ids = torch.randint(0, 256, (2, 32))
        model.loss(ids, ids).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    save_checkpoint(path, model, optimizer, State(step=2))
    return model, optimizer


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_known_as_one_and_changes_nothing(
    damage: str, tmp_path: Path
) -> None:
    path = tmp_path / "r.ckpt.npz"
    _trained(small(0), path)
    DAMAGES[damage](path)
    torch.manual_seed(4)
    model = make_model(SMALL)
    optimizer = make_optimizer(model, small(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(DamagedCheckpoint):
        load_checkpoint(path, model, optimizer)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not optimizer.state_dict()["state"]
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "sgd", "muon"])
def test_a_flipped_byte_anywhere_is_seen_or_does_no_harm(optimizer: Any, tmp_path: Path) -> None:
    path = tmp_path / "r.ckpt.npz"
    spec = small(0, optimizer=optimizer)
    trained, its_optimizer = _trained(spec, path)
    whole = path.read_bytes()
    expected = [*trained.state_dict().values(), *_moments(its_optimizer)]
    rng = np.random.default_rng(0)
    index = len(whole) - whole.index(b"PK\x01\x02")  # bytes of the index, at the end
    seen = 0
    for place in [*rng.integers(0, len(whole), 60), *(len(whole) - rng.integers(1, index, 60))]:
        bad = bytearray(whole)
        bad[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad)
        model = make_model(SMALL)
        other = make_optimizer(model, spec)
        try:
            assert load_checkpoint(path, model, other) == State(step=2, point_loss=_Nan())
        except DamagedCheckpoint:
            seen += 1
            continue
        found = [*model.state_dict().values(), *_moments(other)]
        assert len(found) == len(expected)
        assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))
    assert seen > 60


class _Nan(float):
    def __eq__(self, other: object) -> bool:
        return other != other

    def __hash__(self) -> int:
        return 0


def _moments(optimizer: torch.optim.Optimizer) -> list[torch.Tensor]:
    state = optimizer.state_dict()["state"]
    return [
        value
        for index in sorted(state)
        for _, value in sorted(state[index].items())
        if value is not None
    ]


def test_a_checkpoint_of_before_is_still_read(tmp_path: Path) -> None:
    path = tmp_path / "r.ckpt.npz"
    _trained(small(0), path)
    _with_arrays(path, lambda arrays: arrays.pop("names"))
    model = make_model(SMALL)
    assert load_checkpoint(path, model, make_optimizer(model, small(0))).step == 2


def test_a_run_with_a_damaged_checkpoint_starts_again_and_says_so(
    tokens: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    for spec, damage in zip(SPECS, ("flipped", "cut short", "empty", "a pickle"), strict=True):
        with pytest.raises(_Stop):
            train(spec, tokens, folder, on_progress=_Stop.at(40), checkpoint_seconds=0.0)
        DAMAGES[damage](folder / f"{spec.run_id}.ckpt.npz")
    news = News()
    result = sweep(SPECS, tokens, folder, news=news)
    assert result.complete
    for spec in SPECS:
        assert len(news.about(spec.run_id, "ckpt.npz was damaged", "starts from before it")) == 1
    assert contents(folder) == undisturbed
    assert only_records(folder)


@pytest.mark.full
def test_a_branch_leaves_the_last_state_that_is_not_damaged(tokens: TokenSet, folder: Path) -> None:
    spec = small(0, schedule=Schedule("wsd_sqrt", decay=0.3, warmup_steps=5, final=0.0))
    short, long = share_trunk([spec, replace(spec, tokens=9600)])
    trunk = trunk_of(short)
    train(trunk, tokens, folder, keep=(short.branch_step, long.branch_step))
    alone = train(replace(long, trunk=0), tokens, folder / "alone")
    _flip(kept_path(folder, trunk.run_id, long.branch_step))
    with pytest.warns(RunWarning, match=rf"step{long.branch_step}.npz was damaged .* removed"):
        end = train(long, tokens, folder)
    assert end.start == short.branch_step
    assert end.loss == alone.loss
    _flip(kept_path(folder, trunk.run_id, short.branch_step))
    news = News()
    assert sweep([short], tokens, folder, news=news).complete
    assert len(news.about(short.run_id, "was damaged")) == 1
    ended = read_record(folder / f"{short.run_id}.jsonl").end
    assert ended is not None
    assert ended.start == 0


# A text that goes away.


@LINUX
@pytest.mark.full
def test_a_text_cut_short_ends_the_sweep_in_a_line_that_names_it(
    text: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    whole = (text.folder / "train.bin").read_bytes()
    fault(folder, (1, "cut", 40))
    news = News()
    with pytest.raises(IsolossError, match=r"workers cannot train: .*train.bin has 0 bytes, not"):
        sweep(SPECS[:3], text, folder, "failing_trainers:struck", news=news)
    assert news.about(SPECS[1].run_id, "killed by SIGBUS (was a file of token ids cut short?)")
    assert read_record(folder / f"{SPECS[0].run_id}.jsonl").finished
    (text.folder / "train.bin").write_bytes(whole)
    assert sweep(SPECS[:3], text, folder).already == 1
    assert contents(folder) == part_of(undisturbed, SPECS[:3])


@LINUX
@pytest.mark.full
def test_a_run_goes_on_with_a_text_that_was_removed_and_no_other_begins(
    text: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    whole = (text.folder / "train.bin").read_bytes()
    fault(folder, (0, "remove", 40))
    with pytest.raises(IsolossError, match=r"workers cannot train: .*train.bin is missing"):
        sweep(SPECS[:2], text, folder, "failing_trainers:struck")
    assert contents(folder) == part_of(undisturbed, SPECS[:1])
    (text.folder / "train.bin").write_bytes(whole)
    assert sweep(SPECS[:2], text, folder).already == 1
    assert contents(folder) == part_of(undisturbed, SPECS[:2])


@LINUX
@pytest.mark.full
def test_a_run_whose_text_is_written_to_fails_and_leaves_no_number_of_it(
    text: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    whole = (text.folder / "train.bin").read_bytes()
    fault(folder, (0, "overwrite", 40))
    news = News()
    with pytest.raises(IsolossError, match="its ids are not those of its index"):
        sweep(SPECS[:2], text, folder, "failing_trainers:struck", news=news)
    assert news.about(SPECS[0].run_id, "train.bin changed while it was read")
    with pytest.raises(IsolossError, match="its ids are not those of its index"):
        sweep(SPECS[:2], text, folder)
    (text.folder / "train.bin").write_bytes(whole)
    assert sweep(SPECS[:2], text, folder).complete
    assert contents(folder) == part_of(undisturbed, SPECS[:2])


@LINUX
@pytest.mark.full
def test_no_run_begins_on_another_text_put_in_its_place(
    text: TokenSet, folder: Path, undisturbed: dict[str, Any]
) -> None:
    words = folder.parent / "words.txt"
    words.write_text("\n\n".join(f"{k * k % 97} words of another text" * 40 for k in range(60)))
    prepare(words, folder.parent / "other", val_fraction=0.2)
    fault(folder, (0, "replace", 40))
    with pytest.raises(IsolossError, match="holds another text than when the sweep began"):
        sweep(SPECS[:2], text, folder, "failing_trainers:struck")
    assert contents(folder) == part_of(undisturbed, SPECS[:1])
    shutil.rmtree(text.folder)
    (folder.parent / "before").rename(text.folder)
    assert sweep(SPECS[:2], text, folder).complete
    assert contents(folder) == part_of(undisturbed, SPECS[:2])
