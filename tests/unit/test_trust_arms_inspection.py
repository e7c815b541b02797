"""Bad arms: what is refused, what is found and in which arm; and good arms pass."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from test_trust_compare import arm, grid

from isoloss.errors import InputError, Status, UnidentifiedError
from isoloss.runs import Runs
from isoloss.trust import Comparison, compare


def known(runs: Runs) -> Runs:
    return runs.replace(n_convention="total")


def good(gain: float = 1.0, seed: int = 0) -> Runs:
    return known(arm(gain, 0.004, seed))


def outlying(runs: Runs) -> Runs:
    loss = runs.loss.copy()
    loss[5] *= 1.5
    return runs.replace(loss=loss)


def detail(found: Comparison, code: Status) -> str:
    (one,) = [finding for finding in found.findings if finding.code is code]
    return one.detail


def test_good_arms_have_nothing_wrong_with_them() -> None:
    for seed in range(6):
        for gain in (1.0, 1.25, 3.0):
            one, other = good(seed=2 * seed), good(gain, 2 * seed + 1)
            for found in (compare(one, other), compare(one, other, asymptote="free")):
                assert found.findings == ()
                assert found.status == ()


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda runs: runs.replace(loss=np.exp(runs.loss)), Status.NOT_NATS, "guessing"),
        (lambda runs: runs.replace(loss=runs.loss / np.log(2)), Status.NOT_NATS, "1.44"),
        (lambda runs: Runs.concat([runs, runs[:2]]), Status.DUPLICATED_RUNS, "2 rows repeat"),
        (lambda runs: known(Runs(n=runs.d, d=runs.n, loss=runs.loss)), Status.SWAPPED, "fewer"),
        (lambda runs: runs.replace(run=["one"] * 12), Status.HOT_AND_COOLED, "before their run"),
        (outlying, Status.OUTLIER, "run 5 of arm"),
        (lambda runs: runs.replace(loss=9.0 - runs.loss), Status.VANISHED_TERM, "do not fall"),
        (lambda runs: runs.replace(loss=1e-3 * runs.loss), Status.EXTRAPOLATED, "would need"),
    ],
    ids=["perplexity", "bits", "copies", "exchanged", "hot", "outlier", "rising", "far below"],
)
@pytest.mark.parametrize("letter", ["a", "b"])
def test_a_bad_arm_is_named(
    spoil: Callable[[Runs], Runs], code: Status, says: str, letter: str
) -> None:
    arms = {"a": good(seed=7), "b": good(1.1, 8)}
    arms[letter] = spoil(arms[letter])
    found = compare(arms["a"], arms["b"])
    assert code in found.status
    seen = detail(found, code)
    assert says in seen
    assert f"arm {'ab'.replace(letter, '') if says == 'would need' else letter}" in seen


def test_an_outlier_is_named_whatever_run_it_is_and_however_few_there_are() -> None:
    one, other = good(seed=3), good(1.2, 4)
    for row in range(12):
        for factor in (0.7, 1.4):
            loss = other.loss.copy()
            loss[row] *= factor
            found = compare(one, other.replace(loss=loss))
            assert detail(found, Status.OUTLIER).startswith(f"run {row} of arm b")
    loss = one.loss.copy()
    loss[2] *= 3.0
    few = np.array([0, 2, 5, 6, 8, 11])
    found = compare(one.replace(loss=loss)[few], other[few])
    assert detail(found, Status.OUTLIER).startswith("run 2 of arm a")


def test_what_both_arms_have_is_said_once() -> None:
    found = compare(good(seed=1).replace(n_convention="unknown"), arm(1.0, 0.004, 2))
    assert [one.code for one in found.findings] == [Status.UNKNOWN_CONVENTION]
    assert detail(found, Status.UNKNOWN_CONVENTION).startswith("both arms: ")
    assert found.status == ()
    same = good(seed=1)
    found = compare(same, same)
    assert detail(found, Status.DUPLICATED_RUNS) == "12 of 12 runs of arm b are runs of arm a"
    assert found.status == (Status.DUPLICATED_RUNS,)


def test_a_loss_that_does_not_vary_is_refused() -> None:
    flat = good().replace(loss=np.full(12, 3.0))
    with pytest.raises(UnidentifiedError, match="every run of arm a has the same loss"):
        compare(flat, good())
    with pytest.raises(UnidentifiedError, match="every run of arm b has the same loss"):
        compare(good(), flat)
    with pytest.raises(UnidentifiedError, match="of arm a and of arm b"):
        compare(flat, flat.replace(loss=np.full(12, 2.0)))


@pytest.mark.parametrize("asymptote", ["shared", "free"])
def test_a_compute_far_beyond_an_arm_is_said_to_be(asymptote: str) -> None:
    n, d = grid()
    one, most = good(seed=5), float((6 * n * d).max())
    small = good(1.1, 6)[n < 2e8]  # its largest compute is 3/25 of arm a's
    ends = float(small.c.max())

    def at(budget: float) -> Comparison:
        return compare(one, small, asymptote=asymptote, at=budget)  # type: ignore[arg-type]

    assert Status.EXTRAPOLATED not in at(9.9 * ends).status
    assert 10.1 * ends < 10 * most
    far = at(10.1 * ends)
    assert far.status == (Status.EXTRAPOLATED,)
    assert "10.1 times the most of arm b" in detail(far, Status.EXTRAPOLATED)
    assert at(1e60).status == (Status.EXTRAPOLATED,)


def test_a_compute_beyond_numbers_is_refused() -> None:
    c = np.geomspace(1e17, 1e18, 9)
    steep = [Runs(n=c**0.5, d=c**0.5 / 6, loss=floor + (5e16 / c) ** 1.4) for floor in (2.0, 2.1)]
    with pytest.raises(InputError, match="at 1e\\+308 FLOPs the multiplier"):
        compare(*steep, law="c", asymptote="free", at=1e308)
    shared = compare(*steep, law="c")
    assert compare(*steep, law="c", at=1e308).multiplier == shared.multiplier


def test_what_is_found_leaves_the_answer_alone() -> None:
    """The outlier is named and stays in: the numbers are those of the runs as they were given."""
    one, other = good(seed=3), outlying(good(1.2, 4))
    found = compare(one, other)
    assert found.sd > 0.02
    assert found.multiplier.high / found.multiplier.low > 3
    assert found.status == (Status.OUTLIER,)
