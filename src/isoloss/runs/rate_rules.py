"""A learning rate or a weight decay by rule: the number it gives one run, or why it gives none.

A rule holds where it was measured. Outside it is refused, unless it is forced: extrapolated to
tiny models most of them ask for rates that no model survives.
"""

from __future__ import annotations

import math

from isoloss.counting import Shape, count_params
from isoloss.errors import InputError
from isoloss.laws.published_tuning import POWER_LINES_RANGE, RULE_PAIRS, weight_decay
from isoloss.runs.checks import number_of, require
from isoloss.units import format_number

RATE_RULES = {name.lower().replace(" ", "-"): lr for name, (lr, _) in RULE_PAIRS.items()}
"""The published rules for a peak learning rate, by the name that a run may give as its `lr`."""
DECAY_RULE = "power-lines"
FORCE_IT = "give a number, or force it (force_rules = true)"


def is_rule(value: object) -> bool:
    """Whether the value is the name of a rule, for a rate or for a weight decay."""
    return isinstance(value, str) and (value in RATE_RULES or value == DECAY_RULE)


def ruled_rate(rule: str, shape: Shape, tokens: float, *, force: bool = False) -> float:
    """Return the peak learning rate that a published rule gives a model, of AdamW.

    rule: a name of `RATE_RULES`. tokens: of training. force: ask it outside its range too.
    Raises InputError naming the range, for a model outside it; and for a rule that is not known.
    Source: the rules' own, `laws.published_tuning`.
    """
    if rule not in RATE_RULES:
        raise InputError(f"lr is {rule!r}; use a number, or one of {', '.join(RATE_RULES)}")
    found = RATE_RULES[rule]
    given = found.measures(shape, tokens)
    _, outside = found.outside(**given)
    rate = float(found(**given))
    if not math.isfinite(rate):
        raise InputError(
            f"lr is {rule!r}: it gives no rate at {format_number(given['n'])} parameters"
        )
    if outside and not force:
        raise InputError(f"lr is {rule!r}: refused at {outside}; {FORCE_IT}")
    return rate


def ruled_decay(
    lr: float, shape: Shape, tokens: float, batch: float, *, force: bool = False
) -> float:
    """Return AdamW's weight decay by Power Lines, batch / (lr tokens 1.084 (tokens / n)^-0.527).

    lr: peak rate. tokens, batch: tokens. n is all parameters. force: ask it outside its range too.
    Raises InputError naming the range, for a model outside it.
    Source: Bergsma et al. 2025 (Power Lines, arXiv:2505.13738).
    """
    n, (low, high) = count_params(shape, "total"), POWER_LINES_RANGE
    if not (force or low <= n <= high):
        raise InputError(
            f"weight_decay is {DECAY_RULE!r}: refused at {format_number(n)} parameters, measured "
            f"from {format_number(low)} to {format_number(high)}; {FORCE_IT}"
        )
    return float(weight_decay(lr, batch, n, tokens))


def follow_rules(
    shape: Shape,
    tokens: object,
    batch: object,
    lr: object,
    decay: object,
    *,
    force: bool = False,
) -> tuple[float, float]:
    """Return the rate and the weight decay of a run, each as given or as the rule named says.

    tokens, batch: as a run's. lr: a number, or a name of `RATE_RULES`. decay: a number, or
    "power-lines". Raises InputError for what is neither, and for a rule outside its range.
    """
    d, size = number_of(tokens, "tokens"), number_of(batch, "batch")
    require(d > 0, "tokens", d, "be positive")
    rate = ruled_rate(lr, shape, d, force=force) if isinstance(lr, str) and is_rule(lr) else lr
    rate = number_of(rate, "lr")
    if decay != DECAY_RULE:
        return rate, number_of(decay, "weight_decay")
    require(rate > 0, "lr", rate, "be positive")
    return rate, ruled_decay(rate, shape, d, size, force=force)
