"""Train one model from a RunSpec and leave a run record.

The whole of a run, top to bottom: batches in a fixed order, warm-up and decay, clipping, held-out
losses at logarithmically spaced steps, checkpoints, and an end line. A run that was killed goes on
from its checkpoint bit for bit; a run that is finished is not run again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from isoloss.counting import flops_per_token
from isoloss.files import make_folder
from isoloss.lab.engine import Engine, equip, gradients, settle_together
from isoloss.lab.eval_sets import check_eval_sets
from isoloss.lab.evaluate import HeldOutLoss, held_out_text
from isoloss.lab.models import LanguageModel, make_model
from isoloss.lab.parallel.team import ALONE, Team, agree, open_record, spread
from isoloss.lab.tokens import TokenSet, check_corpus
from isoloss.lab.tokens.watch import Watch, watch
from isoloss.lab.training.batches import Batches
from isoloss.lab.training.best_state import BestState
from isoloss.lab.training.checkpoint import State, try_load, try_save
from isoloss.lab.training.memory import peak_memory_gb, start_counting_memory
from isoloss.lab.training.noise import NoiseLines
from isoloss.lab.training.optim import learning_rate, make_optimizer, set_rate
from isoloss.lab.training.points import evaluation_steps
from isoloss.lab.training.provenance import check_same_text, corpus_facts
from isoloss.lab.training.trunk import leave_trunk
from isoloss.lab.training.width import parametrize
from isoloss.runs import (
    End,
    HeldOutLosses,
    OtherLoss,
    Point,
    RecordWriter,
    RunSpec,
    describe_machine,
    kept_path,
    read_record,
    versions,
)
from isoloss.runs.noise_series import check_noise

PROGRESS_SECONDS = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a run is: step of steps, tokens seen, loss, tokens per second with evaluation.

    loss: the mean training loss since the last held-out point, nats per token.
    """

    run_id: str
    step: int
    steps: int
    tokens: int
    loss: float
    tokens_per_second: float


def train(
    spec: RunSpec,
    tokens: TokenSet,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
    checkpoint_seconds: float = 20.0,
    keep: Collection[int] = (),
    noise_every: int = 0,
    engine: Engine | None = None,
    team: Team = ALONE,
    eval_sets: Mapping[str, TokenSet] | None = None,
) -> End:
    """Train the model of `spec` on `tokens` and leave the record `folder/<run_id>.jsonl`.

    on_progress: called about twice a second. checkpoint_seconds: time between
    checkpoints (`<run_id>.ckpt.npz`, removed at the end). keep: steps after which the state is kept
    for branches (`training.trunk`). A run whose spec has a trunk starts from what that has kept.
    noise_every: steps between noise lines (`training.noise`), 0 for none; no loss depends on it.
    engine: how it is computed; what that leaves open is chosen by measuring (`lab.engine`), or is
    as the record has it.
    team: the processes that train it together (`parallel.team`); all call this and get the same.
    eval_sets: the token sets of the spec's eval_corpora, by name (`lab.eval_sets`).
    Returns the record's end: `finished`, or `diverged` when a loss is not finite. Of a spec with
    `patience` that end is the state at the lowest held-out point (`training.best_state`). A
    finished run returns its old end; an unfinished one goes on from its checkpoint and, on the same
    machine, gives the same numbers as an uninterrupted run.
    Raises InputError if the corpus is too small, or is not the one of the spec or of the record.
    """
    check_corpus(spec, tokens)
    others = check_eval_sets(spec, tokens, eval_sets or {})
    check_noise(spec, noise_every)
    make_folder(folder)
    path = folder / f"{spec.run_id}.jsonl"
    checkpoint = folder / f"{spec.run_id}.ckpt.npz"
    began = None
    if path.exists() and (old := read_record(path)).spec:
        check_same_text(old, tokens, others, path)
        if old.ended and old.end is not None:
            return old.end
        began = old.machine.get("engine")
    else:
        checkpoint.unlink(missing_ok=True)  # one without its record is nobody's
    engine = settle_together(engine or Engine(), spec, team, began=began)

    torch.manual_seed(spec.seed)
    model = make_model(spec.shape, dropout=spec.dropout)
    parametrize(model, spec)
    peak = engine.peak()  # measured before memory is
    start_counting_memory(engine.where)
    equip(model.to(engine.where), engine)
    shared = spread(model, team)
    optimizer = make_optimizer(model, spec)
    state = try_load(checkpoint, model, optimizer)
    if spec.trunk and not state.step:
        state = leave_trunk(spec, tokens.hash, folder, model, optimizer)
    with open_record(path, state.step, team) as writer:
        used = {"engine": asdict(engine), "matmul_flops_per_second": peak}
        machine = describe_machine() | team.facts() | used
        writer.header(spec, corpus_facts(spec, tokens, others), machine, versions())
        best_state = BestState(spec, folder, read_record(path).points)
        run = _Run(
            spec=spec,
            tokens=tokens,
            others=others,
            model=model,
            shared=shared,
            optimizer=optimizer,
            state=state,
            writer=writer,
            checkpoint=checkpoint,
            best_state=best_state,
            keep=set(keep),
            noise_every=noise_every,
            watches=tuple(watch(text) for text in (tokens, *others.values())),
            team=team,
            engine=engine,
        )
        end = _train(run, on_progress, checkpoint_seconds)
    checkpoint.unlink(missing_ok=True)
    best_state.clear()
    return end


@dataclass(frozen=True)
class _Run:
    """Everything one run holds on to while it trains."""

    spec: RunSpec
    tokens: TokenSet
    others: Mapping[str, TokenSet]
    model: LanguageModel
    shared: LanguageModel  # the model as the team trains it; alone, the model itself
    optimizer: torch.optim.Optimizer
    state: State
    writer: RecordWriter
    checkpoint: Path
    best_state: BestState
    keep: Collection[int]
    noise_every: int
    watches: Sequence[Watch]
    team: Team
    engine: Engine

    def check_texts(self) -> None:
        """Raise InputError if a text changed under the run."""
        for one in self.watches:
            one.check()


def _train(
    run: _Run, on_progress: Callable[[Progress], None] | None, checkpoint_seconds: float
) -> End:
    spec, model, optimizer, state = run.spec, run.model, run.optimizer, run.state
    batches = Batches(run.tokens, spec, run.team)
    add = gradients(run.shared, run.engine, spec.micro_batch // spec.shape.n_ctx)
    noise = NoiseLines(run.shared, add, run.noise_every, spec, run.engine, run.team)
    text = held_out_text(spec, run.tokens, run.others)
    points = set(evaluation_steps(spec, text.block_tokens, text.final_tokens))
    clock, told, saved = _Clock(state), -math.inf, time.perf_counter()
    for step in range(state.step, spec.steps):
        set_rate(optimizer, learning_rate(spec, step))
        seed_dropout(spec, step, run.team.rank)
        loss = noise(*batches(step), state)
        if spec.clip:
            torch.nn.utils.clip_grad_norm_(model.parameters(), spec.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

        due = time.perf_counter() - saved >= checkpoint_seconds
        value, due = agree(run.team, loss, due)
        state.step = step + 1
        clock.tick()
        if not math.isfinite(value):
            return _end(run, (), f"training loss was not finite at step {state.step}")
        noise.write(run.writer, state)
        state.loss_sum, state.loss_count = state.loss_sum + value, state.loss_count + 1
        if on_progress and (state.seconds - told >= PROGRESS_SECONDS or state.step == spec.steps):
            told = state.seconds
            on_progress(_progress(run))
        if state.step in points:
            point = _point(run, *_timed(run, lambda: text.at_point(run.shared)))
            if spec.patience and run.best_state.take(point, model, optimizer):
                break
        if state.step in run.keep:
            kept = kept_path(run.checkpoint.parent, spec.run_id, state.step)
            run.check_texts()
            try_save(kept, model, optimizer, state)
        if due and state.step < spec.steps:
            run.check_texts()
            if try_save(run.checkpoint, model, optimizer, state) and run.team.leads:
                run.best_state.clear(others=True)
            saved = time.perf_counter()
    if spec.patience:
        run.best_state.restore(model, optimizer)
    best = run.best_state.point if spec.patience else None
    losses = _timed(run, lambda: text.at_end(run.shared, best.step if best else state.step))
    run.check_texts()
    clock.tick()
    reason = "" if math.isfinite(losses[0].loss) else "the final held-out loss was not finite"
    return _end(run, losses, reason)


def seed_dropout(spec: RunSpec, step: int, rank: int = 0) -> None:
    """Make what update `step` drops a pure function of seed, step and process, as its batch is.

    So a run that goes on drops what it would have, and a checkpoint holds no generator's state.
    Without dropout nothing is drawn, and nothing is done.
    """
    if spec.dropout:
        drawn_from = [spec.seed, step, *([rank] if rank else [])]
        state = np.random.SeedSequence(drawn_from).generate_state(1, np.uint64)
        torch.manual_seed(int(state[0]))


class _Clock:
    """Adds the time of this process to the seconds a run has had before."""

    def __init__(self, state: State) -> None:
        self.state, self.before, self.started = state, state.seconds, time.perf_counter()

    def tick(self) -> None:
        self.state.seconds = self.before + time.perf_counter() - self.started


_Found = TypeVar("_Found")


def _timed(run: _Run, measure: Callable[[], _Found]) -> _Found:
    started = time.perf_counter()
    with run.engine.autocast():
        outcome = measure()
    run.state.eval_seconds += time.perf_counter() - started
    return outcome


def _progress(run: _Run) -> Progress:
    state = run.state
    batch = run.spec.batch
    loss = state.loss_sum / max(1, state.loss_count)
    speed = (state.step - state.start) * batch / state.seconds
    return Progress(run.spec.run_id, state.step, run.spec.steps, state.step * batch, loss, speed)


def _point(run: _Run, outcome: HeldOutLoss, others: tuple[OtherLoss, ...]) -> Point:
    state = run.state
    point = run.writer.point(
        step=state.step,
        tokens=state.step * run.spec.batch,
        loss=outcome.loss,
        se=outcome.se,
        train_loss=state.loss_sum / max(1, state.loss_count),
        lr=learning_rate(run.spec, state.step - 1),
        seconds=state.seconds,
        others=others,
    )
    state.point_loss = point.train_loss
    state.loss_sum, state.loss_count = 0.0, 0
    return point


def _end(run: _Run, losses: tuple[HeldOutLosses, ...], reason: str) -> End:
    state, batch = run.state, run.spec.batch
    trained = (state.step - state.start) * batch
    best = run.best_state.point if run.spec.patience and not reason else None
    step = state.step if best is None else best.step
    stopped = best is not None and state.step < run.spec.steps
    measured: dict[str, Any] = {}
    if losses:
        measured = {name: getattr(losses[0], name) for name in ("loss", "se", "bits_per_byte")}
        measured["eval_tokens"] = losses[0].tokens
        measured["eval_documents"] = len(losses[0].documents)
    for one in losses if not reason else ():
        run.writer.held_out(one)
    run.check_texts()  # an end is for good, and of the text it names
    memory = peak_memory_gb(run.engine.where)
    speed = trained / max(1e-9, state.seconds - state.eval_seconds)
    flops = speed * flops_per_token(run.spec.shape, "exact")
    return run.writer.end(
        "diverged" if reason else "finished",
        step=step,
        tokens=step * batch,
        train_loss=state.point_loss if best is None else best.train_loss,
        seconds=state.seconds,
        eval_seconds=state.eval_seconds,
        tokens_per_second=speed,
        flops_per_second=flops,
        utilisation=flops / (run.engine.peak() * run.team.size),
        peak_memory_gb=memory,
        reason=reason or (f"no lower loss in {run.spec.patience} points" if stopped else ""),
        start=state.start,
        last=state.step if step < state.step else 0,
        **measured,
    )
