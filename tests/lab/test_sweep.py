"""The sweep with stand-in trainers: every run once, whatever fails; wrong input in one line."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from isoloss.counting import Shape
from isoloss.errors import InputError, IsolossError
from isoloss.lab.__main__ import main
from isoloss.lab.processes.environment import training_environment
from isoloss.lab.sweep import (
    SweepInterrupted,
    SweepProgress,
    dry_run,
    prepare_tokens,
    run_sweep,
    tokens_there,
)
from isoloss.lab.sweep import pool as pool_module
from isoloss.lab.sweep.crowd import Crowd
from isoloss.lab.sweep.display import auto_display, duration, live_display, plain_display
from isoloss.lab.sweep.lock import run_lock
from isoloss.lab.sweep.pace import Pace, Work, learn_pace, time_left, work_of
from isoloss.lab.sweep.pool import worker_config
from isoloss.lab.sweep.queue import make_jobs
from isoloss.lab.sweep.tracked import Tracked
from isoloss.lab.tokens import TokenSet
from isoloss.runs import RecordWriter, RunSpec, read_record

LINUX = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
HERE = Path(__file__).parent


def small(seed: int, *, width: int = 16, tokens: int = 6400) -> RunSpec:
    shape = Shape(n_layer=1, d_model=width, n_heads=2, vocab=256, n_ctx=32)
    return RunSpec(shape, tokens=tokens, batch=64, lr=0.01, seed=seed)


def quiet(picture: SweepProgress) -> None:
    """A progress callback that shows nothing."""


def calls(folder: Path) -> list[str]:
    return (folder / "calls.txt").read_text().split()


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("*.jsonl")}


def run(
    specs: list[RunSpec],
    tokens: TokenSet,
    folder: Path,
    trainer: str = "steady",
    *,
    workers: int = 2,
    progress: Callable[[SweepProgress], None] = quiet,
):  # type: ignore[no-untyped-def]
    return run_sweep(
        specs,
        tokens.folder,
        folder,
        workers=workers,
        progress=progress,
        trainer=f"sweep_trainers:{trainer}",
    )


def test_runs_every_spec_once_the_longest_first(tokens: TokenSet, folder: Path) -> None:
    specs = [small(0), small(1, tokens=64_000), small(2, width=64), small(3, tokens=640_000)]
    result = run(specs, tokens, folder, workers=1)
    assert result.complete
    assert result.check() is result
    assert result.counts == {
        "finished": 4,
        "diverged": 0,
        "failed": 0,
        "elsewhere": 0,
        "unfinished": 0,
    }
    assert [read_record(path).run_id for path in result.records] == [s.run_id for s in specs]
    assert calls(folder) == [specs[i].run_id for i in (3, 1, 2, 0)]
    assert {path.suffix for path in folder.iterdir()} == {".jsonl", ".txt"}


def test_the_same_call_again_touches_nothing(tokens: TokenSet, folder: Path) -> None:
    specs = [small(seed) for seed in range(3)]
    run(specs[:2], tokens, folder)
    before, asked = bytes_of(folder), calls(folder)
    result = run(specs, tokens, folder)
    after = bytes_of(folder)
    assert result.already == 2
    assert result.complete
    assert {name: after[name] for name in before} == before
    assert calls(folder) == [*asked, specs[2].run_id]
    run(specs, tokens, folder)
    assert bytes_of(folder) == after
    assert len(calls(folder)) == 3


def test_a_torn_record_is_begun_again_and_a_begun_one_taken_up(
    tokens: TokenSet, folder: Path
) -> None:
    folder.mkdir()
    torn, begun = small(0), small(1)
    (folder / f"{torn.run_id}.jsonl").write_text('{"kind": "sp')
    with RecordWriter(folder / f"{begun.run_id}.jsonl") as writer:
        writer.header(begun, {"hash": tokens.hash}, {}, {})
    news: list[str] = []
    run([torn, begun], tokens, folder, progress=lambda picture: news.extend(picture.news))
    assert all(read_record(path).finished for path in folder.glob("*.jsonl"))
    assert news[0] == "2 runs: 0 done before, 1 to resume, 1 to begin; 2 workers"


def test_a_diverged_run_is_done(tokens: TokenSet, folder: Path) -> None:
    specs = [small(0), small(1)]
    result = run(specs, tokens, folder, "diverging")
    assert result.counts["diverged"] == 1
    assert result.complete
    assert result.summary() == "2 of 2 runs done (1 diverged)"
    before = bytes_of(folder)
    run(specs, tokens, folder, "failing")
    assert bytes_of(folder) == before


def test_a_failing_run_is_named_and_the_others_go_on(tokens: TokenSet, folder: Path) -> None:
    specs = [small(seed) for seed in range(4)]
    result = run(specs, tokens, folder, "failing")
    assert result.counts["finished"] == 3
    assert [name for name, _ in result.failures] == [specs[1].run_id]
    with pytest.raises(IsolossError, match=r"ZeroDivisionError: a bug in two lines.*same command"):
        result.check()
    (folder / "mended").touch()
    assert run(specs, tokens, folder, "failing").complete


def test_a_run_whose_worker_dies_is_taken_up_again_but_not_for_ever(
    tokens: TokenSet, folder: Path
) -> None:
    specs = [small(seed) for seed in range(4)]
    news: list[str] = []
    result = run(specs, tokens, folder, "dying", progress=lambda picture: news.extend(picture.news))
    assert result.counts == {
        "finished": 3,
        "diverged": 0,
        "failed": 1,
        "elsewhere": 0,
        "unfinished": 0,
    }
    assert (folder / "died-1").read_text() == "xxx"
    assert (folder / "died-2").read_text() == "x"
    assert "died 3 times, last killed by SIGKILL" in result.summary()
    assert any(f"the worker of {specs[2].run_id} was lost" in line for line in news)


def test_a_trainer_that_cannot_be_loaded_ends_the_sweep_in_one_line(
    tokens: TokenSet, folder: Path
) -> None:
    with pytest.raises(IsolossError, match="workers cannot train: the library no_such_module"):
        run_sweep([small(0)], tokens.folder, folder, progress=quiet, trainer="no_such_module:train")


def test_workers_that_die_at_once_end_the_sweep(
    tokens: TokenSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The parent named to the workers is not theirs, so they leave, as orphans do.
    monkeypatch.setattr(
        "isoloss.lab.sweep.local.worker_config",
        lambda *given: {**worker_config(*given), "parent": 1},
    )
    with pytest.raises(IsolossError, match="die before they can train: exited with status 1"):
        run([small(0)], tokens, folder)


def test_wrong_calls_are_refused_before_anything_is_trained(tokens: TokenSet, folder: Path) -> None:
    spec = small(0)
    with pytest.raises(InputError, match=r"runs 1 and 3 .* are the same run"):
        run([spec, small(1), replace(spec, group="other")], tokens, folder)
    with pytest.raises(InputError, match="holds no runs"):
        run([], tokens, folder)
    with pytest.raises(InputError, match="workers is 0"):
        run([spec], tokens, folder, workers=0)
    with pytest.raises(InputError, match="asks for the corpus abc"):
        run([replace(spec, corpus_hash="abc")], tokens, folder)
    with pytest.raises(InputError, match=r"has vocab 100.*needs 256"):
        run([replace(spec, shape=replace(spec.shape, vocab=100))], tokens, folder)
    with pytest.raises(InputError, match="no token set"):
        run_sweep([spec], folder / "nothing", folder)
    assert not folder.exists()


def test_a_record_of_another_text_is_not_taken_up(tokens: TokenSet, folder: Path) -> None:
    spec = small(0)
    with RecordWriter(folder / f"{spec.run_id}.jsonl") as writer:
        writer.header(spec, {"hash": "another"}, {}, {})
    with pytest.raises(InputError, match="trained on another text"):
        run([spec], tokens, folder)


def test_records_of_other_runs_in_the_folder_are_left_alone(tokens: TokenSet, folder: Path) -> None:
    run([small(7)], tokens, folder)
    other = bytes_of(folder)
    assert run([small(0)], tokens, folder).complete
    assert other.items() <= bytes_of(folder).items()


def test_what_killed_workers_left_of_done_runs_is_removed(tokens: TokenSet, folder: Path) -> None:
    spec, other = small(0), small(1)
    folder.mkdir()
    for name in ("{}.lock", "{}.ckpt.npz", "{}.ckpt.tmp", ".{}.jsonl.tmp"):
        for run_id in (spec.run_id, other.run_id):
            (folder / name.format(run_id)).touch()
    run([spec], tokens, folder)
    assert [path.name for path in folder.iterdir() if spec.run_id in path.name] == [
        f"{spec.run_id}.jsonl"
    ]
    assert len([path for path in folder.iterdir() if other.run_id in path.name]) == 4


def test_a_run_that_another_process_trains_is_left_to_it(
    tokens: TokenSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "LOCK_WAIT", 0.2)
    folder.mkdir()
    locked, writing, free = small(0), small(1), small(2)
    with (
        run_lock(folder, locked.run_id),
        RecordWriter(folder / f"{writing.run_id}.jsonl") as writer,
    ):
        writer.header(writing, {"hash": tokens.hash}, {}, {})
        result = run([locked, writing, free], tokens, folder)
    assert result.counts["elsewhere"] == 2
    assert result.counts["finished"] == 1
    assert "2 being trained by another sweep" in result.summary()
    assert not (folder / f"{locked.run_id}.jsonl").exists()


def test_the_lock_has_one_holder_and_leaves_no_file(tmp_path: Path) -> None:
    with run_lock(tmp_path, "a", wait=0.0) as first, run_lock(tmp_path, "a", wait=0.0) as second:
        assert first
        assert not second
    with run_lock(tmp_path, "a", wait=0.0) as third:
        assert third
    assert not list(tmp_path.iterdir())


def test_one_thread_is_set_before_torch_loads(tokens: TokenSet, folder: Path) -> None:
    assert run([small(0)], tokens, folder, "threads").complete
    found = json.loads((folder / "threads.json").read_text())
    assert not found["torch_came_first"]
    assert found["threads_at_import"] == "1"
    assert found["torch_threads"] == 1
    assert found["running"] <= 2  # the trainer's, and the one that listens to the parent


PARENT = """
import sys
from pathlib import Path
from isoloss.errors import IsolossError
from isoloss.lab.__main__ import main
from isoloss.lab.sweep import SweepInterrupted, run_sweep
from test_sweep import small
try:
    run_sweep([small(0), small(1), small(2)], Path(sys.argv[1]), Path(sys.argv[2]), workers=2,
              trainer="sweep_trainers:endless")
except SweepInterrupted as stop:
    print(stop)
    sys.exit(stop.exit_code)
"""


def start_parent(tokens: TokenSet, folder: Path) -> subprocess.Popen[str]:
    """A sweep in a process of its own that has done one run and never ends the other two."""
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tokens.folder), str(folder)],
        env={**training_environment(), "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    wait_for(lambda: (folder / "alive-1").exists() and (folder / "alive-2").exists())
    return process


def wait_for(condition: Callable[[], bool], seconds: float = 60.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def assert_nobody_writes(folder: Path) -> None:
    def sizes() -> list[int]:
        return [(folder / f"alive-{seed}").stat().st_size for seed in (1, 2)]

    before = sizes()
    time.sleep(0.3)
    assert sizes() == before


def test_ctrl_c_ends_the_workers_and_says_how_to_resume(tokens: TokenSet, folder: Path) -> None:
    process = start_parent(tokens, folder)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == SweepInterrupted.exit_code == 130
    assert out == ("sweep interrupted: 1 of 3 runs done; run the same command again to resume\n")
    assert_nobody_writes(folder)
    assert run([small(0), small(1), small(2)], tokens, folder).already == 1


def test_workers_do_not_outlive_a_killed_parent(tokens: TokenSet, folder: Path) -> None:
    process = start_parent(tokens, folder)
    process.kill()
    process.communicate(timeout=60)
    time.sleep(0.5)
    assert_nobody_writes(folder)
    assert run([small(0), small(1), small(2)], tokens, folder).complete


def test_a_busy_worker_ends_with_its_input(tokens: TokenSet, folder: Path) -> None:
    """The way out where the kernel cannot be asked to kill a child with its parent."""
    folder.mkdir()
    config = worker_config(tokens.folder, folder, "sweep_trainers:endless", 1.0)
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "isoloss.lab.sweep.worker", json.dumps(config)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=training_environment(),
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"event": "ready"}
        process.stdin.write(json.dumps({"spec": small(1).to_dict()}).encode() + b"\n")
        process.stdin.flush()
        wait_for(lambda: (folder / "alive-1").exists())
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_the_pace_is_learned_from_what_was_seen() -> None:
    true = Pace(layer_step=3e-3, element=5e-9, flop=1 / 7e9)
    works = [
        Work(500.0, 2e8, 2e9),
        Work(4000.0, 3e8, 1e10),
        Work(900.0, 1e9, 4e11),
        Work(300.0, 9e10, 9e10),
    ]
    pace = learn_pace([(work, true.seconds(work)) for work in works])
    for work in (Work(2000.0, 1e8, 1e9), Work(700.0, 1e11, 1e12)):
        assert pace.seconds(work) == pytest.approx(true.seconds(work), rel=0.05)
    one = learn_pace([(works[0], true.seconds(works[0]))])
    assert one.seconds(works[0]) == pytest.approx(true.seconds(works[0]), rel=1e-6)
    slow = learn_pace([(work, 10 * true.seconds(work)) for work in works])
    assert slow.seconds(works[2]) == pytest.approx(10 * pace.seconds(works[2]), rel=1e-9)
    free_flops = learn_pace([(work, 1e-3 * work.layer_steps) for work in works])
    assert min(free_flops.element, free_flops.flop) >= 0
    assert free_flops.seconds(works[1]) == pytest.approx(4.0, rel=0.05)


def test_the_work_of_a_run_grows_with_it() -> None:
    work, longer, wider = work_of(small(0)), work_of(small(0, tokens=64_000)), work_of(wide())
    assert longer.layer_steps == 10 * work.layer_steps
    assert longer.flops == pytest.approx(10 * work.flops)
    assert wider.layer_steps == work.layer_steps
    assert wider.flops / wider.elements > 2 * work.flops / work.elements
    again = work_of(replace(small(0), shape=replace(small(0).shape, reuse=3)))
    deeper = replace(small(0).shape, n_layer=3 * small(0).shape.n_layer)
    assert again == work_of(replace(small(0), shape=deeper))
    half = work.part(0.5)
    assert Pace(1.0, 2.0, 3.0).seconds(half) == Pace(0.5, 1.0, 1.5).seconds(work)


def wide() -> RunSpec:
    return small(0, width=64)


def test_what_a_resumed_run_had_before_is_not_work_of_this_sweep(tmp_path: Path) -> None:
    (job,) = make_jobs([small(0)], tmp_path)
    resumed = Tracked(job, "running", step=60)
    assert resumed.trained().flops == 0
    resumed.first_step, resumed.step = 61, 71
    assert resumed.trained().flops == pytest.approx(0.1 * job.work.flops)


def test_the_time_left_is_that_of_the_last_worker() -> None:
    assert time_left([5.0], [4.0, 3.0, 3.0], 2) == 8.0
    assert time_left([], [4.0, 3.0], 1) == 7.0
    assert time_left([6.0, 1.0], [], 3) == 6.0
    assert time_left([], [], 2) == 0.0


def pictures(tokens: TokenSet, folder: Path) -> list[SweepProgress]:
    seen: list[SweepProgress] = []
    run([small(seed) for seed in range(3)], tokens, folder, progress=seen.append)
    return seen


def test_pictures_go_from_nothing_done_to_all_done(tokens: TokenSet, folder: Path) -> None:
    seen = pictures(tokens, folder)
    assert seen[0].flops_done == 0
    assert seen[0].seconds_left > 0
    assert [picture.over for picture in seen] == [False] * (len(seen) - 1) + [True]
    last = seen[-1]
    assert last.flops_done == pytest.approx(last.flops_total)
    assert last.seconds_left == 0
    assert last.count("finished") == 3
    assert [run.loss for run in last.runs] == [2.25] * 3
    assert all(a.flops_done <= b.flops_done for a, b in pairwise(seen))


def test_displays_show_the_runs(tokens: TokenSet, folder: Path) -> None:
    from rich.console import Console

    seen = pictures(tokens, folder)
    middle = replace(
        seen[0],
        runs=(replace(seen[0].runs[0], state="running", step=40, loss=3.25), *seen[0].runs[1:]),
        seconds=31.0,
        news=(),
    )
    plain, screen = io.StringIO(), io.StringIO()
    live = live_display(Console(file=screen, force_terminal=True, width=120))
    plainly = plain_display(plain)
    for picture in (seen[0], middle, *seen[1:]):
        live(picture)
        plainly(picture)
    lines = plain.getvalue().splitlines()
    assert lines[0] == "sweep: 3 runs: 0 done before, 0 to resume, 3 to begin; 2 workers"
    assert lines[1].startswith("sweep: 0 of 3 runs done, 1 under way, 31 s gone, about")
    assert sum("finished: loss 2.2500" in line for line in lines) == 3
    assert seen[0].runs[0].run_id in screen.getvalue()
    assert "loss 3.2500" in screen.getvalue()
    assert "all: 3 of 3 runs done" in screen.getvalue()
    auto_display(plain)(seen[0])
    assert plain.getvalue().splitlines()[-1] == lines[0]


def write_sweep(folder: Path, text: str = "") -> Path:
    path = folder / "small.toml"
    path.write_text(
        '[defaults]\ntokens = "6400"\nbatch = 64\nlr = 0.01\n[defaults.shape]\nn_layer = 1\n'
        f"d_model = 16\nn_heads = 2\nvocab = 256\nn_ctx = 32\n[[run]]\nseed = [0, 1]\n{text}"
    )
    return path


def test_the_module_shows_a_dry_run_and_trains_nothing(
    tokens: TokenSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_sweep(tmp_path)
    assert main([str(path), "--tokens", str(tokens.folder), "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[-1] for line in out.splitlines()[1:3]] == ["waiting", "waiting"]
    assert err == ""
    assert sorted(child.name for child in tmp_path.iterdir()) == ["small.toml"]


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("sed = 1", ["--tokens", "TOKENS"], "did you mean 'seed'"),
        ("", ["--tokens", "nowhere"], "no token set"),
        ("", [], "names no corpus"),
        ('corpus = "nowhere.txt"', [], "there is no file"),
        ("", ["--tokens", "TOKENS", "--results", "FILE"], "is no result of this command"),
        ("", ["--tokens", "TOKENS", "--out", "FILE"], "cannot hold records"),
        ('corpus = "python-stdlib"', ["--out", "FILE"], "cannot hold records"),
    ],
)
def test_the_module_answers_wrong_input_with_one_line(
    text: str,
    options: list[str],
    message: str,
    tokens: TokenSet,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_sweep(tmp_path, text)
    stand_for = {"TOKENS": str(tokens.folder), "FILE": str(path)}
    written = path.read_text()
    assert main([str(path), *(stand_for.get(option, option) for option in options)]) == 1
    out, err = capsys.readouterr()
    assert path.read_text() == written
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert message in err


def test_the_module_tells_wrong_usage_by_its_exit_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(write_sweep(tmp_path)), "--workers", "0"]) == 2
    assert capsys.readouterr().err == "error: --workers is 0; at least one is needed\n"


def test_durations_read_as_people_say_them() -> None:
    assert [duration(s) for s in (0.2, 59.4, 100.0, 3725.0, float("nan"))] == [
        "0 s",
        "59 s",
        "1 min 40 s",
        "1 h 02 min",
        "an unknown time",
    ]


def test_a_dry_run_shows_what_would_be_trained(tokens: TokenSet, folder: Path) -> None:
    specs = [small(0), small(1, tokens=64_010)]
    run(specs[:1], tokens, folder)
    before = sorted(folder.iterdir())
    lines = dry_run(specs, tokens.folder, folder, workers=2)
    assert sorted(folder.iterdir()) == before
    begins, ends = lines[1].split()[0].split("..")
    assert specs[1].run_id.startswith(begins)
    assert specs[1].run_id.endswith(ends)
    assert lines[1].endswith("waiting")
    assert lines[2].endswith("finished")
    assert lines[3].startswith("1 of 2 runs to train on")
    assert lines[4].endswith("with 1 worker (judged by 1 finished run)")
    assert max(map(len, lines)) <= 80
    assert "6.40K -0.5%" in dry_run([small(3, tokens=6_430)], tokens.folder, folder)[1]


def test_a_dry_run_without_tokens_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("\n\n".join(["word " * 99] * 200), encoding="utf-8")
    specs = [replace(small(seed), corpus="text.txt") for seed in (0, 1)]
    before = sorted(tmp_path.rglob("*"))
    assert tokens_there(specs, tmp_path / "records") is None
    lines = dry_run(specs, None, tmp_path / "records", workers=2)
    assert sorted(tmp_path.rglob("*")) == before
    assert "not tokenized yet" in " ".join(lines)
    assert max(map(len, lines)) <= 80
    made = prepare_tokens(specs, tmp_path / "records")
    there = tokens_there(specs, tmp_path / "records")
    assert there is not None
    assert there.hash == made.hash
    with pytest.raises(InputError, match="there is no file"):
        tokens_there([replace(specs[0], corpus="nowhere.txt")], tmp_path / "records")


def test_tokens_come_from_the_one_corpus_the_runs_name(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for n in range(40):
        (text / f"{n}.txt").write_text(" ".join(f"{k * k % 97}" for k in range(n, n + 200)))
    specs = [replace(small(seed), corpus=os.path.relpath(text)) for seed in range(2)]
    tokens = prepare_tokens(specs, tmp_path / "out")
    assert tokens.tokenizer == "bytes"
    assert tokens.folder == tmp_path / "out" / "tokens"
    with pytest.raises(InputError, match="names 2 corpora"):
        prepare_tokens([specs[0], replace(specs[1], corpus="python-stdlib")], tmp_path / "out")
    with pytest.raises(InputError, match="names no corpus"):
        prepare_tokens([small(0)], tmp_path / "out")
    wide = replace(specs[1], shape=replace(specs[1].shape, vocab=512))
    with pytest.raises(InputError, match="vocabularies 256, 512"):
        prepare_tokens([specs[0], wide], tmp_path / "out")


def test_runs_that_find_no_memory_beside_each_other_are_trained_one_by_one(
    tokens: TokenSet, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Two(Crowd):
        def __init__(self, most: int) -> None:
            super().__init__(2)
            self.limit = 2

    monkeypatch.setattr("isoloss.lab.sweep.local.wants_crowd", lambda device: True)
    monkeypatch.setattr("isoloss.lab.sweep.local.Crowd", Two)
    monkeypatch.setattr("isoloss.lab.sweep.local.usable_cores", lambda: 2)
    specs = [small(seed) for seed in range(3)]
    result = run_sweep(
        specs, tokens.folder, folder, progress=quiet, trainer="sweep_trainers:crowded"
    )
    assert result.counts["finished"] == 3
    assert result.failures == ()
    assert (folder / "refused.txt").exists()
