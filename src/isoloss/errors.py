"""What can go wrong, in three grades.

    Exception
      IsolossError          every error this package raises on purpose
        InputError          a wrong call or wrong input; also a ValueError        exit code 1
          UsageError        a call that no data could make right                  exit code 2
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


class UsageError(InputError):
    """A wrong call that no data could make right: an argument out of range, or without another."""

    exit_code = 2


class FitError(IsolossError):
    """No usable answer; `partial` holds what there is (a Fit, an IsoFlop, ...) or None."""

    def __init__(self, message: str, partial: object = None) -> None:
        super().__init__(message)
        self.partial = partial


class UnidentifiedError(FitError):
    """The data do not identify the answer: the message names the runs that would."""

    exit_code = 3


def argument(name: str) -> str:
    """Name an argument in a message, with its option beside it: the command line shows that alone.

    "max_tokens" gives "max_tokens= (--max-tokens)".
    """
    return f"{name}= (--{name.replace('_', '-')})"


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
    EXTRAPOLATED = (
        "the answer lies far beyond the compute of any run: "
        "train a larger run before spending on it"
    )
    HOT_AND_COOLED = (
        "losses measured at a high learning rate stand beside losses after it was lowered: "
        "keep only the ends of schedules"
    )
    FLOPS_RATIO = (
        "the compute is not what the sizes and tokens imply: check its unit and what it counts"
    )
    UNKNOWN_CONVENTION = (
        "how parameters were counted is not known: "
        "say it with n_convention= (--n-convention) before comparing with any published law"
    )
    DUPLICATED_RUNS = (
        "some runs are there twice, number for number: "
        "leave the copies out, they count as evidence that is not there"
    )
    DIVERGED_RUNS = (
        "runs that diverged are left out: sizes or rates that often diverge look better than they "
        "are"
    )
    INFLUENTIAL_RUN = (
        "one run alone moves the best size by much: check that run, or train its neighbours"
    )
    NOT_MEASURABLE = (
        "not yet measurable: the signal cannot be told from zero, so there is a lower bound at "
        "most; average over more steps, or measure with a larger batch"
    )
    NEGATIVE_NOISE = (
        "the noise came out below zero, which it cannot be: look whether the small and the big "
        "norms are exchanged, gradients are zeroed before every step, and part() comes before "
        "every backward pass"
    )
    FEW_STEPS = (
        "few steps for how long they resemble each other: measure more before trusting the interval"
    )
    OUTLIER = "a run lies far from the law that fits the others: check it before trusting either"
    SWAPPED = (
        "n and d look exchanged: check which column holds parameters (n) and which tokens (d), "
        "and say so with columns= (--columns n=...,d=...)"
    )
    WRONG_UNITS = (
        "n or d do not look like plain counts in every row: give parameters and tokens in full, "
        "7e9 or 7B, and all rows alike"
    )
    MIXED_GROUPS = (
        "one group of runs lies apart from the law of the others: fit each group alone, from a "
        "table of its own, or in Python share coefficients between them (fit_shared)"
    )
    MIXED_DATA = (
        "the runs look like several data sets, or ways to train, in one table: name the column "
        'that tells them apart with columns={"group": "NAME"} (--columns group=NAME), or fit each '
        "alone"
    )
    POOR_FIT = (
        "the law misses the runs by far: check that all are of one data set, one way to train and "
        "one unit of loss, before trusting any law of them"
    )
    ROUNDED_LOSSES = (
        "the losses are rounded so coarsely that it shows in the residuals: give them with more "
        "digits"
    )
    NOT_NATS = (
        "a loss is above that of guessing: check that it is in nats per token, not bits or "
        "perplexity"
    )
    ODD_RATES = (
        "some learning rates are above 1 or below 1e-7: check that the column holds peak rates"
    )
    MANY_ROWS = (
        "so many rows are points along few runs, or repeat each other: name the run of each row, "
        "or intervals will be far too narrow"
    )

    @property
    def code(self) -> str:
        """The machine-readable name, such as `at_bound`."""
        return self.name.lower()
