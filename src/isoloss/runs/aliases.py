"""The names that people give to the columns of a run table, and which role each plays.

A role is a field of `Runs`, a count (`total`, ...) or cost (`6nd`, ...) by its convention, or a
helper (`n_ctx`, `state`). Within a role the order is the order of preference: the plain name and
the paper's symbol first, measured before planned, evaluated before training losses.
Sources: the headers of nanochat, Marin, (Mis)Fitting, step-law, datablations, open_lm, W&B and
Hugging Face exports.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from isoloss.units import PF_DAY

ALIASES: dict[str, tuple[str, ...]] = {
    "n": (
        "params",
        "N",
        "n",
        "n_params",
        "num_params",
        "parameter_count",
        "model_size",
        "parameters",
    ),
    "d": (
        "tokens",
        "D",
        "d",
        "n_tokens",
        "num_tokens_training",
        "tokens_trained",
        "train_tokens",
        "total_tokens",
        "throughput/total_tokens",
        "token_num",
        "data_size",
        "num_tokens",
        "tokens_seen",
        "training_tokens",
        "num_input_tokens_seen",
    ),
    "c": (
        "flops",
        "C",
        "c",
        "train_flops",
        "achieved_flops",
        "total_flops",
        "total_flos",
        "total_gflops",
        "throughput/total_gflops",
        "throughput/total petaflops",
        "compute_pf_days",
        "pf_days",
        "budget",
        "flops_budget",
    ),
    "loss": (
        "loss",
        "val_loss",
        "val/loss",
        "eval/loss",
        "eval_loss",
        "final_loss",
        "lm_loss",
        "loss_validation",
        "validation_loss",
        "test_loss",
        "C4 Eval Loss",
        "L",
    ),
    "batch": (
        "batch_size_in_tokens",
        "batch_size_tokens",
        "batch_tokens",
        "tok / batch",
        "tokens_per_batch",
        "tokens_per_step",
    ),
    "batch_sequences": ("batch_size_seqs", "batch_size_sequences", "batch_sequences"),
    "batch_either": (
        "batch_size",
        "bs",
        "bsz",
        "batch",
        "global_bs",
        "global_batch_size",
        "train_batch_size",
    ),
    "steps": (
        "steps",
        "n_steps",
        "num_steps",
        "train_steps",
        "current_steps",
        "num_iterations",
        "step",
        "global_step",
        "_step",
        "total_steps",
        "iterations",
        "ti",
    ),
    "lr": ("lr", "peak_lr", "learning_rate", "max_lr"),
    "weight_decay": ("weight_decay", "wd"),
    "sd": ("loss_sd", "sd", "loss_std", "loss_se", "se", "stderr"),
    "seed": ("seed", "optimizer_seed", "model_seed"),
    "unique_tokens": ("unique_tokens", "tokens_per_epoch"),
    "run": ("run", "run_id", "training_run_id", "run_name", "exp_name", "name", "id"),
    "group": ("group", "sweep", "experiment"),
    "data": ("dataset", "data_set", "data", "corpus", "source", "domain", "training_data"),
    "n_ctx": (
        "n_ctx",
        "seq_len",
        "sequence_length",
        "seq_length",
        "block_size",
        "context_length",
        "max_seq_len",
    ),
    "state": ("run_state", "state", "status"),
    "epochs": ("epochs",),
    "total": ("params_total", "total params", "total_params", "N_total", "n_total"),
    "non_embedding": (
        "params_non_embedding",
        "params_no_embed",
        "N_no_emb",
        "non_embedding_param_size",
        "params_transformer",
        "N_nonembed",
    ),
    "non_embedding_plus_head": ("params_non_embedding_plus_head", "N_plus_head"),
    "active": ("params_active", "active_params", "dense_parameter_count"),
    "exact": ("flops_exact",),
    "6nd": ("flops_6nd", "C_6ND"),
    "kaplan": ("flops_kaplan",),
    "chinchilla": ("flops_chinchilla",),
    "reported": ("flops_reported",),
}

PATTERNS: dict[str, tuple[str, ...]] = {
    "n": (r"model_size__.+",),
    "d": (r"dataset_size__.+",),
    "loss": (
        r"eval/lm/.+/ce loss",
        r".+-validation/crossentropyloss",
        r"(test|val|eval)_loss__.+",
        r"(.+[ /_-])?(val|valid|validation|eval|test|held_?out)([ /_-].*)?[ /_-]loss",
        r"loss[ /_-](.+[ /_-])?(val|eval|test)([ /_-].*)?",
        r"smooth[ /_-]loss",
        r"(.+[ /_-])?(ppl|perplexity)",
        r"(.+[ /_-])?(bpb|bits_per_byte)",
        r"train(ing)?[ /_-]loss",
    ),
}


ROLES = tuple(role for role in ALIASES if role not in ("batch_either", "epochs", "data"))
"""What `columns={role: name}` may name."""

FAILED = frozenset({"failed", "crashed", "killed", "diverged", "running", "pending", "preempted"})
"""States of a run whose last loss is no result."""

_SCALES = {
    "total_gflops": 1e9,
    "throughput_total_gflops": 1e9,
    "throughput_total_petaflops": 1e15,
    "compute_pf_days": PF_DAY,
    "pf_days": PF_DAY,
}
_PLANNED = frozenset({"budget", "flops_budget"})


def candidates(role: str, header: Iterable[str]) -> list[str]:
    """Return the columns of header that may play the role, the preferred one first.

    An alias matches exactly, or ignoring case and punctuation unless it is a single letter.
    """
    header = list(header)
    by_plain: dict[str, list[str]] = {}
    for name in header:
        by_plain.setdefault(plain(name), []).append(name)
    found: dict[str, None] = {}
    for alias in ALIASES[role]:
        matches = [name for name in header if name == alias]
        if not matches and len(alias) > 1:
            matches = by_plain.get(plain(alias), [])
        found |= dict.fromkeys(matches)
    for pattern in PATTERNS.get(role, ()):
        found |= dict.fromkeys(
            name for name in header if re.fullmatch(pattern, name, flags=re.IGNORECASE)
        )
    return list(found)


def plain(name: str) -> str:
    """Return a column's name in lower case with every run of punctuation as one underscore."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def scale_of(column: str) -> float:
    """Return what a compute column is to be multiplied by to be in FLOPs."""
    return _SCALES.get(plain(column), 1.0)


def is_planned(column: str) -> bool:
    """Whether a compute column is a budget that was set, not the compute that was spent."""
    return plain(column) in _PLANNED


def is_perplexity(column: str) -> bool:
    """Whether a loss column holds perplexities, by its name."""
    return re.search(r"(^|_)(ppl|perplexity)$", plain(column)) is not None


def is_bits_per_byte(column: str) -> bool:
    """Whether a loss column is in bits per byte, by its name."""
    return re.search(r"(^|_)(bpb|bits_per_byte)(_|$)", plain(column)) is not None


def is_training_loss(column: str) -> bool:
    """Whether a loss column is the loss on the training text, by its name."""
    return re.fullmatch(r"train(ing)?_loss", plain(column)) is not None
