"""The papers' constants, each with what it counts and where it was measured.

For size and tokens: `KAPLAN_2020`, a record of Kaplan's separate fits, whose tables are never
mixed; `HOFFMANN_2022` (Chinchilla, approach 3, the unrounded values) and `HOFFMANN_2022_ROUNDED`
(as printed: rounding moves the optimal size by 20 %); `BESIROGLU_2024`, the corrected fit of the
same data; `SARDANA_2024`, Hoffmann's with other digits. Beyond them (written down in
`published_joint`): `MUENNIGHOFF_2023` for repeated data, `GADRE_2024_*` for over-training and for
tasks, `KUMAR_2024` for bits, `KRAJEWSKI_2024` for the grain of experts, `FARSEER_2025`; in
`published_experts`: `CLARK_2022_*` and `LUDZIEJEWSKI_2025` for their number; in
`published_allocation`, rules of compute without a loss: `LLAMA_3_2024`, `DEEPSEEK_2024_*`,
`MINICPM_2024`.
Coefficients keep the paper's names and units, so Kaplan's compute is in PF-days:
`KAPLAN_2020.loss_c_min(flops / PF_DAY)`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike

from isoloss.errors import InputError
from isoloss.laws.forms import Array, Chinchilla, KaplanND, Law, PowerLaw
from isoloss.laws.kaplan import KaplanFrontier
from isoloss.laws.provenance import PublishedLaw as PublishedLaw
from isoloss.laws.provenance import Range as Range
from isoloss.laws.published_allocation import DEEPSEEK_2024_DATA as DEEPSEEK_2024_DATA
from isoloss.laws.published_allocation import DEEPSEEK_2024_MODEL as DEEPSEEK_2024_MODEL
from isoloss.laws.published_allocation import LLAMA_3_2024 as LLAMA_3_2024
from isoloss.laws.published_allocation import MINICPM_2024 as MINICPM_2024
from isoloss.laws.published_experts import CLARK_2022_DENSE as CLARK_2022_DENSE
from isoloss.laws.published_experts import CLARK_2022_HASH as CLARK_2022_HASH
from isoloss.laws.published_experts import CLARK_2022_RL_R as CLARK_2022_RL_R
from isoloss.laws.published_experts import CLARK_2022_S_BASE as CLARK_2022_S_BASE
from isoloss.laws.published_experts import LUDZIEJEWSKI_2025 as LUDZIEJEWSKI_2025
from isoloss.laws.published_joint import FARSEER_2025 as FARSEER_2025
from isoloss.laws.published_joint import GADRE_2024_C4 as GADRE_2024_C4
from isoloss.laws.published_joint import GADRE_2024_C4_ERROR as GADRE_2024_C4_ERROR
from isoloss.laws.published_joint import GADRE_2024_RPJ as GADRE_2024_RPJ
from isoloss.laws.published_joint import GADRE_2024_RPJ_ERROR as GADRE_2024_RPJ_ERROR
from isoloss.laws.published_joint import GADRE_2024_RW as GADRE_2024_RW
from isoloss.laws.published_joint import GADRE_2024_RW_ERROR as GADRE_2024_RW_ERROR
from isoloss.laws.published_joint import KRAJEWSKI_2024 as KRAJEWSKI_2024
from isoloss.laws.published_joint import KRAJEWSKI_2024_DENSE as KRAJEWSKI_2024_DENSE
from isoloss.laws.published_joint import KUMAR_2024 as KUMAR_2024
from isoloss.laws.published_joint import KUMAR_2024_OFFSETS as KUMAR_2024_OFFSETS
from isoloss.laws.published_joint import KUMAR_2024_POST as KUMAR_2024_POST
from isoloss.laws.published_joint import MUENNIGHOFF_2023 as MUENNIGHOFF_2023
from isoloss.laws.relations import CriticalBatch, KaplanNS, PowerRelation
from isoloss.laws.search import Flags, turning
from isoloss.units import PF_DAY


def least_compute(flops: ArrayLike) -> Array:
    """Return Kaplan's C_min in PF-days of what is spent at the critical batch: half of it."""
    return np.asarray(flops, dtype=np.float64) / 2 / PF_DAY


@dataclass(frozen=True)
class KaplanAllocation:
    """Kaplan's Table 6: how to spend compute; every row is called with C_min in PF-days.

    n: parameters. batch: tokens, to be stayed well below. steps: least optimizer steps.
    d: tokens, seen once.
    """

    n: PublishedLaw
    batch: PublishedLaw
    steps: PublishedLaw
    d: PublishedLaw


@dataclass(frozen=True)
class Kaplan2020:
    """Kaplan's fits, side by side: each comes from its own table, and none explains another.

    loss_n, loss_d, loss_c, loss_c_min: one-variable trends (Table 5); loss_c is the naive trend
    at a fixed batch. loss_nd: Table 2. loss_ns: Table 3. critical_batch: as in the text (2e8),
    critical_batch_table_5: as in Table 5 (2.1e8). data_threshold: the tokens that avoid
    overfitting (Eq. 4.4). allocation: Table 6.
    """

    name: str
    citation: str
    loss_n: PublishedLaw
    loss_d: PublishedLaw
    loss_c: PublishedLaw
    loss_c_min: PublishedLaw
    loss_nd: PublishedLaw
    loss_ns: PublishedLaw
    critical_batch: PublishedLaw
    critical_batch_table_5: PublishedLaw
    data_threshold: PublishedLaw
    allocation: KaplanAllocation

    @property
    def fits(self) -> dict[str, PublishedLaw]:
        """Every fit by its name in this record; Table 6's as `allocation.n` and so on."""
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = {
            f"allocation.{f.name}": getattr(self.allocation, f.name)
            for f in fields(KaplanAllocation)
        }
        return {k: v for k, v in (found | rows).items() if isinstance(v, PublishedLaw)}

    @property
    def frontier(self) -> KaplanFrontier:
        """What L(N, S_min) and the critical batch imply together; the fitted trends differ."""
        loss_ns, critical_batch = self.loss_ns.law, self.critical_batch.law
        assert isinstance(loss_ns, KaplanNS)
        assert isinstance(critical_batch, CriticalBatch)
        return KaplanFrontier(loss_ns, critical_batch)

    def compute_ratio(self, size_ratio: float) -> float:
        """Return how much more compute a size needs than the best size for the same loss.

        ratio = r * [1 + (alpha_s / alpha_n) * (1 - r ** -alpha_n)] ** (-1 / alpha_s), r =
        size_ratio = n / n_best; infinite where the size cannot reach the loss at all.
        Raises InputError if size_ratio is not positive.
        Source: Kaplan et al. 2020, Eq. B.16, with Table 3's exponents.
        """
        if not size_ratio > 0:
            raise InputError(f"size_ratio is {size_ratio}; give a positive ratio n / n_best")
        return float(self.frontier.compute_ratio(size_ratio))

    def near_optimal(self, excess: float = 0.05) -> Range:
        """Return the size ratios n / n_best between which compute exceeds the best by `excess`.

        excess: a fraction, such as 0.05. Source: Kaplan et al. 2020, Eq. B.16 solved for the size.
        """
        if not (math.isfinite(excess) and excess > 0):
            raise InputError(f"excess is {excess}; give a positive fraction such as 0.05")
        far = 2.0
        while self.compute_ratio(far) <= 1 + excess:
            far *= 2

        def dearer(log_ratio: Array) -> Flags:
            return self.frontier.compute_ratio(np.exp(log_ratio)) > 1 + excess

        inside, _ = turning(dearer, [0.0, 0.0], np.log([1e-3, far]))
        low, high = (float(x) for x in np.exp(inside))
        return low, high

    def best_size(self, flops: ArrayLike) -> Array:
        """Return the best size for a budget spent at the critical batch, parameters.

        n = 1.3e9 C_min ** 0.73 with C_min = C / (1 + B / B_crit) = C / 2 in PF-days, for at the
        critical batch half of the compute counts. flops: C, a number or an array.
        Source: Kaplan et al. 2020, Table 6 and Eq. 5.5.
        """
        return self.allocation.n(least_compute(flops))


_KAPLAN = "Kaplan et al. (2020), Scaling Laws for Neural Language Models, arXiv:2001.08361"
_HOFFMANN = (
    "Hoffmann et al. (2022), Training Compute-Optimal Large Language Models, arXiv:2203.15556"
)
_BESIROGLU = (
    "Besiroglu, Erdil, Barnett & You (2024), Chinchilla Scaling: A replication attempt, "
    "arXiv:2404.10102"
)
_SARDANA = (
    "Sardana, Portes, Doubov & Frankle (2024), Beyond Chinchilla-Optimal: Accounting for "
    "Inference in Language Model Scaling Laws, arXiv:2401.00448"
)
_N, _D, _C = "parameters", "tokens", "PF-days"


def _kaplan(
    law: Law | CriticalBatch | PowerRelation,
    name: str,
    where: str,
    variables: tuple[str, ...],
    units: tuple[str, ...],
    *,
    gives: str = "loss, nats per token",
    note: str = "",
) -> PublishedLaw:
    """One of Kaplan's fits: non-embedding parameters, C = 6 n d, sizes of 768 to 1.5e9."""
    return PublishedLaw(
        law=law,
        name=f"Kaplan 2020, {name}",
        citation=_KAPLAN,
        where=where,
        variables=variables,
        units=units,
        n_convention="non_embedding",
        c_convention="6nd",
        gives=gives,
        n_range=(768.0, 1.5e9),
        d_range=(22e6, 23e9),
        note=note,
    )


KAPLAN_2020 = Kaplan2020(
    name="Kaplan 2020",
    citation=_KAPLAN,
    loss_n=_kaplan(
        PowerLaw(xc=8.8e13, alpha=0.076),
        "L(N)",
        "Table 5, Eq. 1.1",
        ("n",),
        (_N,),
        note="trained to convergence on ample data; models of one layer left out",
    ),
    loss_d=_kaplan(
        PowerLaw(xc=5.4e13, alpha=0.095),
        "L(D)",
        "Table 5, Eq. 1.2",
        ("d",),
        (_D,),
        note="a large model, stopped early",
    ),
    loss_c=_kaplan(
        PowerLaw(xc=1.6e7, alpha=0.057),
        "L(C), naive",
        "Table 5",
        ("c",),
        (_C,),
        note="at a fixed batch of 2**19 tokens; loss_c_min corrects for the batch",
    ),
    loss_c_min=_kaplan(
        PowerLaw(xc=3.1e8, alpha=0.050),
        "L(C_min)",
        "Table 5, Eq. 1.3",
        ("c_min",),
        (_C,),
        note="best size, batch far below critical; Figs 1 and 13 are labelled 2.3e8 instead",
    ),
    loss_nd=_kaplan(
        KaplanND(Nc=6.4e13, Dc=1.8e13, alpha_n=0.076, alpha_d=0.103),
        "L(N, D)",
        "Table 2, Eq. 1.5",
        ("n", "d"),
        (_N, _D),
        note="for overfitting with early stopping; its minimum is not Kaplan's allocation",
    ),
    loss_ns=_kaplan(
        KaplanNS(Nc=6.5e13, Sc=2.1e3, alpha_n=0.077, alpha_s=0.76),
        "L(N, S_min)",
        "Table 3, Eq. 1.6",
        ("n", "s_min"),
        (_N, "steps"),
    ),
    critical_batch=_kaplan(
        CriticalBatch(b_star=2e8, alpha_b=0.21),
        "critical batch",
        "Eq. 1.4",
        ("loss",),
        ("nats per token",),
        gives="critical batch, tokens",
        note="the text's 2e8; Table 5 prints 2.1e8 (critical_batch_table_5)",
    ),
    critical_batch_table_5=_kaplan(
        CriticalBatch(b_star=2.1e8, alpha_b=0.21),
        "critical batch (Table 5)",
        "Table 5",
        ("loss",),
        ("nats per token",),
        gives="critical batch, tokens",
    ),
    data_threshold=_kaplan(
        PowerRelation(5e3, 0.74),
        "tokens that avoid overfitting",
        "Eq. 4.4",
        ("n",),
        (_N,),
        gives="tokens",
        note="to within the spread between seeds, 0.02 nats",
    ),
    allocation=KaplanAllocation(
        n=_kaplan(
            PowerRelation(1.3e9, 0.73), "N_opt(C_min)", "Table 6", ("c_min",), (_C,), gives=_N
        ),
        batch=_kaplan(
            PowerRelation(2.0e6, 0.24),
            "critical batch (C_min)",
            "Table 6",
            ("c_min",),
            (_C,),
            gives="critical batch, tokens",
            note="train with a batch far below it",
        ),
        steps=_kaplan(
            PowerRelation(5.4e3, 0.03),
            "S_min(C_min)",
            "Table 6",
            ("c_min",),
            (_C,),
            gives="optimizer steps",
            note="a lower bound",
        ),
        d=_kaplan(
            PowerRelation(2e10, 0.27),
            "D_opt(C_min)",
            "Table 6",
            ("c_min",),
            (_C,),
            gives=_D,
            note="one epoch; Eq. 6.7 prints 4e10 where its own formula gives 2.2e10",
        ),
    ),
)
"""Kaplan et al. 2020, a record of separate fits; compute in PF-days, parameters non-embedding."""

_TIED = (
    "parameters as the paper counts them: all, with the tied embedding once, so equal to "
    "non_embedding_plus_head but for position terms, biases and norms"
)

HOFFMANN_2022 = PublishedLaw(
    law=Chinchilla(
        E=math.exp(0.5267228),
        A=math.exp(6.0073404),
        B=math.exp(6.0179186),
        alpha=0.33917084,
        beta=0.2849083,
    ),
    name="Hoffmann 2022",
    citation=_HOFFMANN,
    where="Eq. 10, unrounded in the paper's TeX source",
    variables=("n", "d"),
    units=(_N, _D),
    n_convention="total",
    c_convention="6nd",
    n_range=(70e6, 16e9),
    d_range=(5e9, 500e9),
    note=f"approach 3; Besiroglu 2024 found that the fit had stopped early; {_TIED}",
)
"""Hoffmann et al. 2022 (Chinchilla), approach 3, the unrounded constants."""

HOFFMANN_2022_ROUNDED = PublishedLaw(
    law=Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28),
    name="Hoffmann 2022, rounded",
    citation=_HOFFMANN,
    where="Eq. 10 as printed",
    variables=("n", "d"),
    units=(_N, _D),
    n_convention="total",
    c_convention="6nd",
    n_range=(70e6, 16e9),
    d_range=(5e9, 500e9),
    note=f"the rounding moves the optimal size by 20 %: use HOFFMANN_2022 to plan; {_TIED}",
)
"""Hoffmann et al. 2022 with the two-digit exponents the paper prints."""

BESIROGLU_2024 = PublishedLaw(
    law=Chinchilla(E=1.8172, A=482.01, B=2085.43, alpha=0.3478, beta=0.3658),
    name="Besiroglu 2024",
    citation=_BESIROGLU,
    where="the refit of 240 points read off Hoffmann's Figure 4",
    variables=("n", "d"),
    units=(_N, _D),
    n_convention="total",
    c_convention="6nd",
    n_range=(5.733e7, 1.619e10),
    d_range=(8.18e8, 3.178e11),
    c_range=(1.397e18, 1.296e22),
    note=(
        "standard errors E 0.03, A 124.58, B 1293, alpha 0.02, beta 0.02, no covariance "
        f"published; {_TIED}"
    ),
)
"""Besiroglu et al. 2024, the corrected fit of Hoffmann's own data."""

SARDANA_2024 = PublishedLaw(
    law=Chinchilla(E=1.69, A=406.4, B=410.7, alpha=0.336, beta=0.283),
    name="Sardana 2024",
    citation=_SARDANA,
    where="Hoffmann's law as they print it, exponents to three digits",
    variables=("n", "d"),
    units=(_N, _D),
    n_convention="total",
    c_convention="6nd",
    n_range=(70e6, 16e9),
    d_range=(5e9, 500e9),
    note="for their examples of what serving changes; to plan use HOFFMANN_2022",
)
"""Hoffmann's law with the digits of Sardana et al. 2024."""

PLANNED_WITH = (HOFFMANN_2022, HOFFMANN_2022_ROUNDED, BESIROGLU_2024, SARDANA_2024)
"""The published laws of (n, d) to share out compute by; Kaplan's own is `KAPLAN_2020`."""
