"""What can go wrong, in three grades.

    Exception
      IsolossError          every error this package raises on purpose
        InputError          a wrong call or wrong input; also a ValueError        exit code 1
        FitError            no usable answer; carries what there is in `.partial`  exit code 1
          UnidentifiedError the data do not identify the answer                    exit code 3

A doubtful answer is no error: it returns with `Status` codes, whose text is advice.
"""

from __future__ import annotations

from enum import Enum


class IsolossError(Exception):
    """Base of every deliberate error; its message is one line for a person to act on."""

    exit_code = 1


class InputError(IsolossError, ValueError):
    """Wrong input or a wrong call: the message says what is wrong, where, and what to do."""


class FitError(IsolossError):
    """No usable answer; `partial` holds what there is (a Fit, an IsoFlop, ...) or None."""

    def __init__(self, message: str, partial: object = None) -> None:
        super().__init__(message)
        self.partial = partial


class UnidentifiedError(FitError):
    """The data do not identify the answer: the message names the runs that would."""

    exit_code = 3


class Status(Enum):
    """A code for a doubtful answer; the value is the advice."""

    AT_BOUND = (
        "an exponent sits at the end of its range: the runs do not bend enough to fix it; "
        "add runs over a wider range"
    )
    VANISHED_TERM = (
        "a term of the law came out zero: the runs show no effect of it; "
        "add runs where it should matter"
    )
    FEW_SIZES = "fewer than three distinct model sizes: add sizes before trusting the exponent of n"
    FEW_TOKENS = (
        "fewer than three distinct token counts: add token counts before trusting the exponent of d"
    )
    NOT_SEPARATED = "the runs do not separate n from d: vary tokens at fixed size"
    FEW_RUNS = "hardly more runs than coefficients: add runs before trusting any interval"
    WIDE_EXPONENT = (
        "an exponent is uncertain by more than half its value: "
        "add runs over a wider range before trusting it"
    )
    NOT_CONVERGED = "the solver stopped before the objective settled: look at the runs for outliers"
    EDGE_BUDGET = (
        "a compute budget without an interior minimum was left out: "
        "run the size that its entry names"
    )
    FEW_BUDGETS = (
        "fewer than three usable compute budgets: "
        "add budgets before trusting the trend of the best size"
    )
    UNDERTUNED = (
        "a model was trained at one learning rate, or does best at the end of its grid: "
        "run the rate that its entry names before fitting a law of its loss"
    )

    @property
    def code(self) -> str:
        """The machine-readable name, such as `at_bound`."""
        return self.name.lower()
