"""How many runs at once: against simulated devices of which the answer is known."""

from __future__ import annotations

import pytest

from isoloss.lab.sweep.crowd import Crowd, found_no_memory, wants_crowd


def simulate(together: dict[int, float], most: int, *, length: float = 1e9) -> Crowd:
    """A device on which k runs do `together[k]` steps a second, shared alike.

    length: steps of a run, after which another takes its place.
    """
    crowd, now, next_run = Crowd(most), 0.0, 0
    runs: dict[str, float] = {}
    for _ in range(4000):
        while len(runs) < crowd.limit:
            runs[f"run {next_run}"], next_run = 0.0, next_run + 1
        now += 0.5
        rate = together[len(runs)] / len(runs)
        runs = {run: step + 0.5 * rate for run, step in runs.items()}
        crowd.hear({run: (int(step), now) for run, step in runs.items() if step > 0})
        runs = {run: step for run, step in runs.items() if step < length}
        while len(runs) > crowd.limit:
            runs.popitem()
    return crowd


def test_runs_are_added_while_the_device_does_more() -> None:
    together = {1: 100.0, 2: 195.0, 4: 350.0, 8: 500.0, 16: 510.0}
    crowd = simulate(together, 16)
    assert crowd.settled
    assert crowd.limit == 8


def test_one_run_that_fills_the_device_stays_alone() -> None:
    crowd = simulate({1: 100.0, 2: 101.0, 4: 101.0}, 4)
    assert (crowd.limit, crowd.settled) == (1, True)


def test_there_are_never_more_than_the_most() -> None:
    crowd = simulate({k: 100.0 * k for k in range(1, 7)}, 6)
    assert (crowd.limit, crowd.settled) == (6, True)


def test_runs_that_end_meanwhile_do_not_stop_the_measuring() -> None:
    together = {1: 100.0, 2: 195.0, 4: 350.0, 8: 360.0}
    assert simulate(together, 8, length=1500.0).limit == 4


def test_a_run_without_memory_halves_the_crowd_for_good() -> None:
    crowd = Crowd(8)
    crowd.limit = 4
    crowd.shrink()
    crowd.hear({"a": (1, 0.0), "b": (1, 0.0)})
    assert (crowd.limit, crowd.settled) == (2, True)


@pytest.mark.parametrize(("device", "answer"), [("cuda", True), ("cuda:1", True), ("cpu", False)])
def test_a_device_that_is_named_decides(device: str, answer: bool) -> None:
    assert wants_crowd(device) is answer


@pytest.mark.parametrize("hidden", ["", "-1"])
def test_a_gpu_that_is_hidden_is_none(hidden: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert wants_crowd("auto") is False


def test_runs_too_short_to_be_measured_make_room_for_more() -> None:
    crowd = Crowd(4)
    crowd.ended()
    assert crowd.limit == 2
    crowd.ended()
    assert crowd.limit == 2
    crowd.ended()
    assert (crowd.limit, crowd.settled) == (4, False)


def test_a_run_that_takes_another_place_is_not_measured_with_the_rest() -> None:
    crowd = Crowd(8)
    crowd.limit = 2
    for second in range(4):
        crowd.hear({"a": (100 * second, float(second)), f"b{second}": (0, float(second))})
    assert crowd.limit == 4  # "a" went on all the while


@pytest.mark.parametrize(
    ("reason", "answer"),
    [
        ("OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB (x.py:1)", True),
        ("AcceleratorError: CUDA error: out of memory (x.py:1)", True),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling (x.py:1)", True),
        ("ZeroDivisionError: division by zero (x.py:1)", False),
    ],
)
def test_the_words_for_no_memory_are_known(reason: str, answer: bool) -> None:
    assert found_no_memory(reason) is answer
