"""Published constants beyond size and tokens: repeated data, over-training, tasks, bits, experts.

`published` hands these names on; use them from there. Each stands for its own runs, tokenizer and
count of parameters, so its coefficients are compared with no other's.
"""

from __future__ import annotations

import math

from isoloss.laws.downstream import DownstreamError
from isoloss.laws.forms import Chinchilla, Law
from isoloss.laws.joint import DataConstrained, Farseer, Overtraining
from isoloss.laws.provenance import PublishedLaw
from isoloss.laws.variants import FineGrainedMoE, OffsetPrecision, Precision, QuantizationLoss

_N, _D, _C = "parameters", "tokens", "FLOPs"
_FARSEER = (
    "Li et al. (2025), Predictable Scale: Part II, Farseer: A Refined Scaling Law in Large "
    "Language Models, arXiv:2506.10972"
)
_MUENNIGHOFF = (
    "Muennighoff et al. (2023), Scaling Data-Constrained Language Models, arXiv:2305.16264"
)
_GADRE = (
    "Gadre et al. (2024), Language models scale reliably with over-training and on downstream "
    "tasks, arXiv:2403.08540"
)
_KUMAR = "Kumar et al. (2024), Scaling Laws for Precision, arXiv:2411.04330"
_KRAJEWSKI = (
    "Krajewski, Ludziejewski et al. (2024), Scaling Laws for Fine-Grained Mixture of Experts, "
    "arXiv:2402.07871"
)

MUENNIGHOFF_2023 = PublishedLaw(
    law=DataConstrained(
        E=math.exp(0.6254804),
        A=math.exp(6.255414),
        B=math.exp(7.3049974),
        alpha=0.3526596,
        beta=0.3526596,
        Rd=15.387756,
        Rn=5.309743,
    ),
    name="Muennighoff 2023",
    citation=_MUENNIGHOFF,
    where="the fit in the authors' code, unrounded",
    variables=("n", "d", "unique_tokens"),
    units=(_N, _D, _D),
    n_convention="unknown",
    c_convention="6nd",
    n_range=(1e7, 9e9),
    d_range=(1e8, 9e11),
    note=(
        "Rd 15.4 and Rn 5.3 are a local minimum: the same 182 runs fit slightly better at 95 and "
        "1.7, and hardly bound Rd from above"
    ),
)
"""Muennighoff et al. 2023, the loss where data repeat; base exponents tied."""


def _gadre(text: str, eta: float, a: float, b: float, floor: float) -> PublishedLaw:
    return PublishedLaw(
        law=Overtraining(E=floor, a=a, b=b, eta=eta),
        name=f"Gadre 2024, {text}",
        citation=_GADRE,
        where="the fit to five small runs, unrounded as in the authors' code",
        variables=("c", "m"),
        units=(_C, "tokens per parameter"),
        n_convention="total",
        c_convention="6nd",
        n_range=(10.57e6, 411.6e6),
        note=(
            "loss on C4; fitted to four sizes at m = 20 and the smallest at m = 320, so no law to "
            "share out compute by"
        ),
    )


def _gadre_error(text: str, k: float, gamma: float, eps: float) -> PublishedLaw:
    return PublishedLaw(
        law=DownstreamError(eps=eps, k=k, gamma=gamma),
        name=f"Gadre 2024, error, {text}",
        citation=_GADRE,
        where="17 tasks",
        variables=("loss",),
        units=("nats per token on C4",),
        n_convention="total",
        c_convention="6nd",
        gives="mean top-1 error",
        n_range=(10.57e6, 1.44e9),
        note="fitted to six models",
    )


GADRE_2024_C4 = _gadre("C4", 0.12123611963778233, 141.27725529680146, 189.51552149611567, 1.5082605)
"""Gadre et al. 2024, L(C, M) of models trained on C4."""
GADRE_2024_RPJ = _gadre("RedPajama", 0.1364253530893086, 212.2361216791635, 366.6871978, 1.8366484)
"""Gadre et al. 2024, L(C, M) of models trained on RedPajama."""
GADRE_2024_RW = _gadre("RefinedWeb", 0.12719742231587453, 157.1162843, 246.2066862428, 1.7344621)
"""Gadre et al. 2024, L(C, M) of models trained on RefinedWeb."""
GADRE_2024_C4_ERROR = _gadre_error("C4", 2.07891, 0.75612, 0.84974)
"""Gadre et al. 2024, mean error on 17 tasks from the loss, trained on C4."""
GADRE_2024_RPJ_ERROR = _gadre_error("RedPajama", 2.20649, 0.71459, 0.85699)
"""Gadre et al. 2024, mean error on 17 tasks from the loss, trained on RedPajama."""
GADRE_2024_RW_ERROR = _gadre_error("RefinedWeb", 2.21481, 0.70705, 0.86528)
"""Gadre et al. 2024, mean error on 17 tasks from the loss, trained on RefinedWeb."""


def _kumar(
    law: Law, name: str, where: str, bits: tuple[str, ...], gives: str, note: str
) -> PublishedLaw:
    return PublishedLaw(
        law=law,
        name=f"Kumar 2024, {name}",
        citation=_KUMAR,
        where=where,
        variables=("n", "d", *bits),
        units=(_N, _D, *("bits" for _ in bits)),
        n_convention="unknown",
        c_convention="unknown",
        gives=gives,
        n_range=(3e7, 1.7e9),
        d_range=None,
        note=note,
    )


KUMAR_2024 = _kumar(
    Precision(
        E=2.7648,
        A=4.299e3,
        B=1.806e4,
        alpha=0.4965,
        beta=0.4965,
        gamma_w=2.6745,
        gamma_a=2.2102,
        gamma_kv=0.9578,
    ),
    "training",
    "Table 2",
    ("p_w", "p_a", "p_kv"),
    "loss, nats per token",
    "up to 26e9 tokens; the paper's offsets to p / gamma (0.30, 1.41, 2.42) are left out",
)
"""Kumar et al. 2024, the loss of training with few bits."""

KUMAR_2024_OFFSETS = _kumar(
    OffsetPrecision(
        E=2.7648,
        A=4.299e3,
        B=1.806e4,
        alpha=0.4965,
        beta=0.4965,
        gamma_w=2.6745,
        gamma_a=2.2102,
        gamma_kv=0.9578,
        n_w=0.3037,
        n_a=1.4072,
        n_kv=2.4185,
    ),
    "training, with offsets",
    "Table 2",
    ("p_w", "p_a", "p_kv"),
    "loss, nats per token",
    "up to 26e9 tokens; nothing is left below 3.1 bits",
)
"""Kumar et al. 2024, the loss of training with few bits, with the offsets of the same table."""

KUMAR_2024_POST = _kumar(
    QuantizationLoss(CT=0.0598, gamma_d=0.5068, gamma_n=0.3439, gamma_post=0.5907),
    "rounding after training",
    "Table 2",
    ("p_post",),
    "added loss, nats per token",
    "to be added to the loss before rounding",
)
"""Kumar et al. 2024, what rounding the weights after training adds."""


def _krajewski(law: Law, name: str, variables: tuple[str, ...], note: str) -> PublishedLaw:
    units = (_N, _D, "d_ff of the dense layer per d_ff of an expert")
    return PublishedLaw(
        law=law,
        name=f"Krajewski 2024, {name}",
        citation=_KRAJEWSKI,
        where="the table of fitted coefficients",
        variables=variables,
        units=units[: len(variables)],
        n_convention="unknown",
        c_convention="unknown",
        note=note,
    )


KRAJEWSKI_2024 = _krajewski(
    FineGrainedMoE(c=0.47, g=2.1, a=18.1, b=30.8, alpha=0.115, beta=0.147, gamma=0.58),
    "experts",
    ("n", "d", "granularity"),
    "n is all parameters but the embedding, every expert's, at 64 times the active feed-forward",
)
"""Krajewski et al. 2024, mixtures of fine-grained experts at an expansion of 64."""

KRAJEWSKI_2024_DENSE = _krajewski(
    Chinchilla(E=0.47, A=16.3, B=26.7, alpha=0.126, beta=0.127),
    "dense",
    ("n", "d"),
    "the dense models beside the experts; n without the embedding",
)
"""Krajewski et al. 2024, the dense models of the same study."""

FARSEER_2025 = PublishedLaw(
    law=Farseer(
        s=-0.062465473,
        q=0.13,
        S=0.1284880679442551,
        B=230.73437075885855,
        b=-0.1729,
        Q=-1.544209554,
        A=-1.665630816,
        a=0.0458999999999619,
        E=3.133347198805445,
    ),
    name="Farseer 2025",
    citation=_FARSEER,
    where="the constants as a benchmark of scaling laws restates them",
    variables=("n", "d"),
    units=(_N, _D),
    n_convention="unknown",
    c_convention="unknown",
    gives="loss, not in nats per token",
    n_range=(9.96e7, 2.51e10),
    d_range=(1e9, 5.12e11),
    note=(
        "losses of 0.438 to 0.675; not read in the paper itself; only for sizes in its range, "
        "beyond which the loss falls to nothing without more tokens"
    ),
)
"""Li et al. 2025 (Farseer), an exponent of the tokens that moves with the size."""
