"""Pearce & Song 2024: what they print, and the sizes and budgets of their released script.

Their formula is `chinchilla.UncountedFrontier`: how Chinchilla's law looks without the embeddings.
"""

from __future__ import annotations

import numpy as np

from isoloss.laws.forms import Array

PEARCE_CITATION = (
    "Pearce & Song (2024), Reconciling Kaplan and Chinchilla Scaling Laws, arXiv:2406.12907"
)

PEARCE_SEEN_HOFFMANN = 0.74
"""The exponent that Hoffmann's law shows over Kaplan's sizes without embeddings, as printed."""

PEARCE_SEEN_BESIROGLU = 0.78
"""The same of Besiroglu's refit."""

PEARCE_RUNS_UNCOUNTED, PEARCE_RUNS_COUNTED = 0.74, 0.49
"""The exponents of their own runs, 0.8e6 to 4.6e6 parameters, without embeddings and with them."""


def pearce_sizes() -> Array:
    """Return the script's 20 sizes over Kaplan's range, parameters without embeddings, (20,)."""
    return np.logspace(2.9, 9.2, 20)


def pearce_budgets(*, counted: bool = False) -> Array:
    """Return the script's FLOPs, (100,). counted: where embeddings are counted."""
    return np.logspace(13.4 if counted else 12.95, 20.7, 100)
