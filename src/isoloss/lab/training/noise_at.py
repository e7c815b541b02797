"""The gradient noise scale at one set of weights: those of a checkpoint, on batches drawn anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from isoloss.errors import InputError
from isoloss.lab.engine import Engine, equip, settle
from isoloss.lab.models import make_model
from isoloss.lab.noise_meter import NoiseMeter
from isoloss.lab.tokens import TokenSet, check_corpus, training_part
from isoloss.lab.tokens.arrays import take_windows
from isoloss.lab.training.checkpoint import DamagedCheckpoint, load_checkpoint
from isoloss.lab.training.optim import make_optimizer
from isoloss.lab.training.width import parametrize
from isoloss.noise import NoiseScale
from isoloss.runs import Run, RunSpec, read_record

_PARTS = 8  # of a batch, at most: with more, each gradient is of fewer sequences and costs more
_CHECKPOINT = re.compile(r"(.+)\.(?:ckpt|step\d+|best\d+)\.npz")


@dataclass(frozen=True)
class NoiseAt:
    """The noise scale at the weights of a checkpoint.

    run, step: whose, after how many updates. scale: in tokens. batches: that were drawn, of `batch`
    tokens each. tokens_per_sequence: a sequence is what is drawn. same_text: whether they are of
    the text that the run was trained on.
    """

    run: str
    step: int
    scale: NoiseScale
    batches: int
    batch: int
    tokens_per_sequence: int
    same_text: bool


def noise_at(
    checkpoint: Path,
    tokens: TokenSet,
    *,
    batches: int = 64,
    batch: int | None = None,
    level: float = 0.9,
    seed: int = 0,
    engine: Engine | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> NoiseAt:
    """Measure the noise scale of a run's gradients at the weights of one of its checkpoints.

    Each batch is cut into up to eight parts, and their gradients are held against their mean
    (`noise.noise_scale`); no weight changes.
    checkpoint: `RUN.ckpt.npz`, `RUN.stepN.npz` or `RUN.bestN.npz`, beside its record. tokens: the
    text to draw contexts from, without replacement. batch: tokens, the run's own by default.
    seed: of the draws. on_progress: called with batches done and all.
    Returns NoiseAt. Raises InputError for what is no checkpoint of a run, and for a text that has
    fewer contexts than are asked for, or is of another vocabulary.
    """
    run, spec = _run_of(checkpoint)
    check_corpus(spec, tokens)
    length, batch = spec.shape.n_ctx, spec.batch if batch is None else batch
    if batches < 1:
        raise InputError(f"batches= (--batches) is {batches}; at least one is needed")
    if batch % length or batch < 2 * length:
        raise InputError(
            f"batch= (--batch) is {batch} tokens; give two or more sequences of {length}, such as "
            f"{max(2, round(batch / length)) * length}"
        )
    rows = batch // length
    draws = _draws(training_part(spec, tokens), batches, rows, length, seed)
    engine = settle(engine or Engine("auto", "float32", "fused", False, False), spec)
    torch.manual_seed(seed)  # of the dropout, if there is any
    model = make_model(spec.shape, dropout=spec.dropout)
    parametrize(model, spec)
    equip(model.to(engine.where), engine)
    try:
        step = load_checkpoint(checkpoint, model, make_optimizer(model, spec)).step
    except DamagedCheckpoint as error:
        raise InputError(
            f"{checkpoint}: is no whole checkpoint of {run.run_id} ({error}); give another"
        ) from None
    with NoiseMeter(model, window=None, level=level) as meter:
        for done, (ids, targets) in enumerate(draws, start=1):
            given = (x.to(engine.where) for x in (ids, targets))
            with engine.autocast():
                meter.split(model.loss, *given, parts=min(_PARTS, rows), tokens_per_sequence=length)
            meter.step()
            model.zero_grad(set_to_none=True)
            if on_progress:
                on_progress(done, batches)
        found = meter.read()
    same = run.corpus.get("hash", tokens.hash) == tokens.hash
    return NoiseAt(run.run_id, step, found.scale, batches, batch, length, same)


def _run_of(checkpoint: Path) -> tuple[Run, RunSpec]:
    """The record of the run that a checkpoint is of, and its spec."""
    if not checkpoint.is_file():
        raise InputError(f"{checkpoint}: no such checkpoint")
    named = _CHECKPOINT.fullmatch(checkpoint.name)
    if named is None:
        raise InputError(
            f"{checkpoint}: is not called as a checkpoint of isoloss is, RUN.ckpt.npz or "
            "RUN.stepN.npz; in a loop of your own use isoloss.lab.noise_meter"
        )
    record = checkpoint.with_name(f"{named[1]}.jsonl")
    if not record.is_file():
        raise InputError(
            f"{checkpoint}: its record {record.name} is not beside it, and says what model it is of"
        )
    run = read_record(record)
    if not run.spec:
        raise InputError(f"{record}: was torn in its first line, and does not say what was trained")
    return run, RunSpec.from_dict(run.spec)


def _draws(
    part: TokenSet, batches: int, rows: int, length: int, seed: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Batches (rows, length) of ids and targets, of contexts drawn without replacement."""
    windows = (len(part.train) - 1) // length
    if windows < batches * rows:
        raise InputError(
            f"the training text of {part.name!r} has {windows:,} contexts of {length} tokens, and "
            f"{batches} batches of {rows} are asked for: take fewer, or a smaller batch"
        )
    drawn = np.random.default_rng(seed).choice(windows, batches * rows, replace=False)

    def each() -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(batches):
            starts = drawn[number * rows : (number + 1) * rows] * length
            found = take_windows(part.train, starts, length + 1).astype(np.int64)
            ids = torch.from_numpy(found)
            yield ids[:, :-1], ids[:, 1:]

    return each()
