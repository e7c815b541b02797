"""Where scaling laws are visible on a laptop: the sizes, budgets and rates of the demo.

Bytes of text, a context of 64, models of 3.6K to 0.5M parameters (the head included), 0.55 to
7.5 million tokens: enough for both to matter, and no more time than a newcomer has.
`benchmarks/demo_regime.py` measures the slope in tokens and the effect of size in this range, and
scans the learning rates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from isoloss.counting import Shape, flops_per_token
from isoloss.errors import InputError
from isoloss.planning.designs.recipe import whole_steps
from isoloss.runs import RunSpec, Schedule

N_CTX = 64
VOCAB = 256
BUDGETS = (1.6e11, 3.0e11, 5.6e11)
"""Exact training FLOPs of the three IsoFLOP curves."""

LEAST_TOKENS = 550_000
"""From here up the slope in tokens was measured not to steepen; below, nothing is claimed."""
MOST_OF_CORPUS = 0.9
"""No run sees more than this share of the training text: no token is seen twice."""

SIZES_PER_CURVE = 6
"""The largest sizes a budget allows; smaller ones cost most time, far from the minimum."""

FORECAST_FACTOR, HELD_OUT_FACTOR = 10.0, 5.0
"""Compute of the forecast runs over the most any run of the sweep has had, at least."""


def shape(n_layer: int, d_model: int, n_heads: int) -> Shape:
    """A GPT-2 style shape of the demo: bytes, context 64, tied head."""
    return Shape(n_layer=n_layer, d_model=d_model, n_heads=n_heads, vocab=VOCAB, n_ctx=N_CTX)


SWEEP_SHAPES = tuple(
    shape(*sizes)
    for sizes in (
        (2, 8, 1), (2, 12, 1), (2, 16, 2), (2, 20, 2), (2, 24, 2), (2, 32, 2), (3, 32, 2),
        (3, 40, 2), (3, 48, 3), (4, 48, 3),
    )
)  # fmt: skip
FORECAST_SHAPES = tuple(
    shape(*sizes)
    for sizes in (
        (2, 24, 2), (2, 32, 2), (3, 32, 2), (3, 40, 2), (3, 48, 3), (4, 48, 3), (4, 56, 4),
        (4, 64, 4), (4, 72, 4), (4, 80, 5), (5, 80, 5), (5, 96, 6),
    )
)  # fmt: skip

LADDERS = (
    (SWEEP_SHAPES[2], (1.0, 2**0.5, 2.0, 2**1.5)),
    (SWEEP_SHAPES[6], (1.0, 2.0)),
)
"""Two widths, 16 and 32, and the multiples of the least tokens that show the slope in tokens."""

REPLICATED = ((0, 2), (0, 5))
"""Budget and size, by index, of the two configurations that are trained from three seeds."""

WIDTHS = (8, 96)
"""The widths the learning-rate rule is for; it was scanned at 8, 32, 48 and 56."""


def learning_rate(d_model: int) -> float:
    """The demo's own rule for the peak learning rate of AdamW: 0.0265 (8 / d_model)^0.72.

    Within 1 % of the best loss at each of the four sizes scanned (`benchmarks/results`): widths 8
    to 56, 0.8 to 6.2 million tokens, at this module's batch rule. Wider models and the ends of the
    demo's range of tokens are extrapolation.
    Raises InputError outside the widths it is for.
    """
    if not WIDTHS[0] <= d_model <= WIDTHS[1]:
        raise InputError(
            f"d_model is {d_model}: the demo's learning-rate rule is for widths "
            f"{WIDTHS[0]} to {WIDTHS[1]}; choose one of those or give a rate of your own"
        )
    return float(f"{0.0265 * (8 / d_model) ** 0.72:.4g}")


def batch_tokens(tokens: float) -> int:
    """Tokens per step: 512 (tokens / 3e5)^0.57, a multiple of the context, between 512 and 4,096.

    The exponent is Step Law's (Li et al. 2025); the prefactor is for this text.
    """
    wanted: float = min(4096.0, max(512.0, 512 * (tokens / 3e5) ** 0.57))
    return round(wanted / N_CTX) * N_CTX


@dataclass(frozen=True)
class Design:
    """What one demo trains before it forecasts.

    corpus, seed: on what text and from which seed. most_tokens, least_tokens: bounds of the tokens
    of one run. budgets: exact FLOPs of the IsoFLOP curves, rising.
    """

    corpus: str
    seed: int
    most_tokens: int
    least_tokens: int = LEAST_TOKENS
    budgets: tuple[float, ...] = BUDGETS

    def sweep(self) -> tuple[RunSpec, ...]:
        """Every run of the sweep: the IsoFLOP curves, two ladders in tokens, two replications."""
        curves = self.curves()
        specs = [spec for curve in curves for spec in curve]
        for ladder_shape, multiples in LADDERS:
            specs += [self.run(ladder_shape, m * self.least_tokens, "ladder") for m in multiples]
        for budget, size in REPLICATED:
            curve = curves[budget]
            first = curve[min(size, len(curve) - 1)]
            specs += [replace(first, seed=first.seed + k, group="seeds") for k in (1, 2)]
        # On a short text a curve may have so few sizes that both replications are of one.
        return tuple({spec.run_id: spec for spec in specs}.values())

    def curves(self) -> tuple[tuple[RunSpec, ...], ...]:
        """The runs of each IsoFLOP curve: the six largest sizes whose tokens lie within the bounds.

        Raises InputError if a curve has fewer than three.
        """
        curves = tuple(
            tuple(
                self.run(candidate, tokens, f"isoflop-{number}")
                for candidate in SWEEP_SHAPES
                if self.least_tokens
                <= (tokens := budget / flops_per_token(candidate, "exact"))
                <= self.most_tokens
            )[-SIZES_PER_CURVE:]
            for number, budget in enumerate(self.budgets, start=1)
        )
        for budget, curve in zip(self.budgets, curves, strict=True):
            if len(curve) < 3:
                raise InputError(
                    f"only {len(curve)} sizes can spend {budget:.2g} FLOPs on at most "
                    f"{self.most_tokens:,} tokens of {self.corpus!r}: use a larger corpus"
                )
        return curves

    def run(self, shape: Shape, tokens: float, group: str) -> RunSpec:
        """One run of the demo: `tokens` of training at the demo's own batch and learning rate."""
        batch = batch_tokens(tokens)
        return RunSpec(
            shape=shape,
            tokens=whole_steps(tokens, batch) * batch,
            batch=batch,
            lr=learning_rate(shape.d_model),
            schedule=Schedule("cosine", warmup=0.03, final=0.1),
            seed=self.seed,
            corpus=self.corpus,
            group=group,
        )

    @property
    def top_compute(self) -> float:
        """The most exact FLOPs any run of the sweep has."""
        return max(spec.flops("exact") for spec in self.sweep())

    def spenders(self, flops: float) -> tuple[Shape, ...]:
        """The forecast shapes that can spend `flops` and see no token twice, smallest first."""
        return tuple(
            shape
            for shape in FORECAST_SHAPES
            if flops / flops_per_token(shape, "exact") <= self.most_tokens
        )
