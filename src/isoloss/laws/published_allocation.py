"""Published rules that say what to train with a budget, where no loss stands behind them.

`published` hands these names on; use them from there. Each gives one quantity of compute, in the
unit it was published in, and none says how flat its optimum is.
"""

from __future__ import annotations

from isoloss.laws.provenance import PublishedLaw, Range
from isoloss.laws.relations import PowerRelation

_LLAMA = "Llama team (2024), The Llama 3 Herd of Models, arXiv:2407.21783"
_DEEPSEEK = "DeepSeek-AI (2024), DeepSeek LLM, arXiv:2401.02954"
_MINICPM = (
    "Hu et al. (2024), MiniCPM: Unveiling the Potential of Small Language Models with Scalable "
    "Training Strategies, arXiv:2404.06395"
)


def _of_compute(
    law: PowerRelation,
    name: str,
    citation: str,
    where: str,
    gives: str,
    note: str,
    *,
    unit: str = "FLOPs",
    n_range: Range | None = None,
    c_range: Range | None = None,
) -> PublishedLaw:
    return PublishedLaw(
        law=law,
        name=name,
        citation=citation,
        where=where,
        variables=("c",),
        units=(unit,),
        n_convention="unknown",
        c_convention="unknown",
        gives=gives,
        n_range=n_range,
        c_range=c_range,
        note=note,
    )


LLAMA_3_2024 = _of_compute(
    PowerRelation(0.29, 0.53),
    "Llama 3",
    _LLAMA,
    "section 3.2.1, N*(C) = A C^alpha",
    "training tokens",
    "the paper's N* is tokens, not parameters; the rounded pair gives 10.5e12 tokens and 605e9 "
    "parameters at 3.8e25 FLOPs, where the paper has 16.55e12 and 402e9; a figure's label, 0.299 "
    "and 0.537, gives 16.3e12: the exponent is needed to more digits",
    n_range=(40e6, 16e9),
    c_range=(6e18, 1e22),
)
"""Llama 3's best number of training tokens, as rounded in the text."""

_DEEPSEEK_NOTE = (
    "M = 72 n_layer d_model^2 + 12 n_layer d_model n_ctx is training FLOPs per token without the "
    "vocabulary, and c = M d; better text moves the exponent of M up: 0.450 on an earlier corpus, "
    "0.524 on this one, 0.578 on OpenWebText2"
)

DEEPSEEK_2024_MODEL = _of_compute(
    PowerRelation(0.1715, 0.5243),
    "DeepSeek 2024, M",
    _DEEPSEEK,
    "section 3.2, M_opt",
    "M, training FLOPs per token",
    _DEEPSEEK_NOTE,
    c_range=(1e17, 3e20),
)
"""DeepSeek's best model scale, in FLOPs per token."""

DEEPSEEK_2024_DATA = _of_compute(
    PowerRelation(5.8316, 0.4757),
    "DeepSeek 2024, D",
    _DEEPSEEK,
    "section 3.2, D_opt",
    "training tokens",
    _DEEPSEEK_NOTE,
    c_range=(1e17, 3e20),
)
"""DeepSeek's best number of training tokens."""

MINICPM_2024 = _of_compute(
    PowerRelation(0.01, -0.10),
    "MiniCPM 2024",
    _MINICPM,
    "N_opt / D_opt = K^2 (C / 6)^eta",
    "parameters per token",
    "n and d are in billions there, so that c / 6 is in 1e18 FLOPs: 132 tokens per parameter at "
    "1e20 FLOPs and 210 at 1e22, about the 192 it quotes; in FLOPs it would be some 10,000",
    unit="6e18 FLOPs",
)
"""MiniCPM's best ratio of parameters to tokens, of compute in units of 6e18 FLOPs."""
