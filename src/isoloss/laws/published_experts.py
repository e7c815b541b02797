"""Published constants for mixtures of experts by their number.

`published` hands these names on; use them from there. For their grain see `KRAJEWSKI_2024`.
"""

from __future__ import annotations

from isoloss.laws.experts import JointMoE, RoutedExperts
from isoloss.laws.forms import Law, PowerLaw
from isoloss.laws.provenance import PublishedLaw

_N, _EXPERTS = "parameters", "experts"
_CLARK = "Clark et al. (2022), Unified Scaling Laws for Routed Language Models, arXiv:2202.01169"
_LUDZIEJEWSKI = (
    "Ludziejewski et al. (2025), Joint MoE Scaling Laws: Mixture of Experts Can Be Memory "
    "Efficient, arXiv:2502.05172"
)


def _clark(law: RoutedExperts | Law, name: str, note: str) -> PublishedLaw:
    variables = ("n", "experts") if isinstance(law, RoutedExperts) else ("n",)
    return PublishedLaw(
        law=law,
        name=f"Clark 2022, {name}",
        citation=_CLARK,
        where="Table 3" if isinstance(law, RoutedExperts) else "the dense models of the same study",
        variables=variables,
        units=(_N, _EXPERTS)[: len(variables)],
        n_convention="unknown",
        c_convention="unknown",
        d_range=(130e9, 130e9),
        note=f"all runs saw 130e9 tokens, so it plans no tokens; {note}",
    )


_COUNTED = (
    "logarithms to base 10; n is the dense model's, without the experts added; the cutoff of "
    "{}e9 parameters that the paper states needs more digits of b and c"
)

CLARK_2022_S_BASE = _clark(
    RoutedExperts(a=-0.082, b=-0.108, c=0.009, d=1.104, E_start=1.847, E_max=314.478),
    "S-BASE",
    _COUNTED.format(937),
)
"""Clark et al. 2022, experts routed by Sinkhorn-BASE."""

CLARK_2022_RL_R = _clark(
    RoutedExperts(a=-0.083, b=-0.126, c=0.012, d=1.111, E_start=1.880, E_max=469.982),
    "RL-R",
    _COUNTED.format(85),
)
"""Clark et al. 2022, experts routed by reinforcement learning."""

CLARK_2022_HASH = _clark(
    RoutedExperts(a=-0.087, b=-0.136, c=0.012, d=1.157, E_start=4.175, E_max=477.741),
    "HASH",
    _COUNTED.format(83),
)
"""Clark et al. 2022, experts routed by a hash of the token."""

CLARK_2022_DENSE = _clark(
    PowerLaw(xc=3.568e13, alpha=0.078), "dense", "Kaplan's form with constants of their own"
)
"""Clark et al. 2022, the dense models beside the mixtures."""

LUDZIEJEWSKI_2025 = PublishedLaw(
    law=JointMoE(
        a=35.91,
        alpha=-0.1889,
        delta=-0.2285,
        gamma=0.0098,
        b=35.98,
        beta=-0.1775,
        omega=0.5529,
        zeta=-0.0259,
        E_start=2.0732,
        E_max=290.4521,
        c=1.3637,
    ),
    name="Ludziejewski 2025",
    citation=_LUDZIEJEWSKI,
    where="Table 3, Eq. 6",
    variables=("n", "d", "experts"),
    units=(_N, "tokens", _EXPERTS),
    n_convention="active",
    c_convention="6nd",
    n_range=(79e6, 2.7e9),
    d_range=(5e8, 8e10),
    note=(
        "n is what one token uses, embedding and head included; one expert of up to 32 is used; "
        "the signs are those with which its Tables 1 and 4 follow"
    ),
)
"""Ludziejewski et al. 2025, dense models and mixtures of up to 32 experts in one law."""
