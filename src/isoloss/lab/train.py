"""Train one model from a RunSpec and leave a run record.

The whole of a run, top to bottom: batches in a fixed order, warm-up and decay, clipping, held-out
losses at logarithmically spaced steps, checkpoints, and an end line. A run that was killed goes on
from its checkpoint bit for bit; a run that is finished is not run again.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from isoloss.counting import flops_per_token
from isoloss.errors import InputError
from isoloss.lab.batches import Batches
from isoloss.lab.checkpoint import State, try_load, try_save
from isoloss.lab.engine import Engine, equip, gradients, settle
from isoloss.lab.eval_sets import check_eval_sets
from isoloss.lab.evaluate import HeldOutLoss, held_out_text
from isoloss.lab.models import LanguageModel, make_model
from isoloss.lab.optim import learning_rate, make_optimizer, set_rate
from isoloss.lab.parallel import ALONE, Team, agree, all_say, open_record, spread
from isoloss.lab.stopping import Lowest
from isoloss.lab.token_watch import Watch, watch
from isoloss.lab.tokens import TokenSet, check_corpus, training_part
from isoloss.lab.trunk import leave_trunk
from isoloss.lab.usage import peak_memory_gb, start_counting_memory
from isoloss.lab.width import parametrize
from isoloss.runs import (
    End,
    HeldOutLosses,
    OtherLoss,
    Point,
    RecordWriter,
    Run,
    RunSpec,
    describe_machine,
    kept_path,
    read_record,
    versions,
)

EVALUATION_SHARE = 0.2
FORWARD_SHARE = 0.4  # a forward pass over a training step on as many tokens, measured 0.31-0.39
FIRST_POINT = 30  # the first held-out point lies at this part of the run
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
    engine: Engine | None = None,
    team: Team = ALONE,
    eval_sets: Mapping[str, TokenSet] | None = None,
) -> End:
    """Train the model of `spec` on `tokens` and leave the record `folder/<run_id>.jsonl`.

    on_progress: called about twice a second. checkpoint_seconds: time between
    checkpoints (`<run_id>.ckpt.npz`, removed at the end). keep: steps after which the state is kept
    for branches (`lab.trunk`). A run whose spec has a trunk starts from what that has kept.
    engine: how it is computed; what that leaves open is chosen by measuring (`lab.engine`), or is
    as the record has it.
    team: the processes that train it together (`lab.parallel`); all call this and get the same.
    eval_sets: the token sets of the spec's eval_corpora, by name (`lab.eval_sets`).
    Returns the record's end: `finished`, or `diverged` when a loss is not finite. Of a spec with
    `patience` that end is the state at the lowest held-out point (`lab.stopping`). A finished run
    returns its old end; an unfinished one goes on from its checkpoint and, on the same machine,
    gives the same numbers as an uninterrupted run.
    Raises InputError if the corpus is too small, or is not the one of the spec or of the record.
    """
    check_corpus(spec, tokens)
    others = check_eval_sets(spec, tokens, eval_sets or {})
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{spec.run_id}.jsonl"
    checkpoint = folder / f"{spec.run_id}.ckpt.npz"
    began = None
    if path.exists() and (old := read_record(path)).spec:
        _check_same_text(old, tokens, others, path)
        if old.ended and old.end is not None:
            return old.end
        began = old.machine.get("engine")
    else:
        checkpoint.unlink(missing_ok=True)  # one without its record is nobody's
    engine = _engine(engine or Engine(), spec, began, team)

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
        writer.header(spec, _corpus(spec, tokens, others), machine, versions())
        lowest = Lowest(spec, folder, read_record(path).points)
        parts = (spec, tokens, others, model, optimizer, state, writer, checkpoint, lowest)
        run = _Run(*parts, set(keep), watch(tokens), team, shared, engine)
        end = _train(run, on_progress, checkpoint_seconds)
    checkpoint.unlink(missing_ok=True)
    lowest.clear()
    return end


@dataclass(frozen=True)
class _Run:
    """Everything one run holds on to while it trains."""

    spec: RunSpec
    tokens: TokenSet
    others: Mapping[str, TokenSet]
    model: LanguageModel
    optimizer: torch.optim.Optimizer
    state: State
    writer: RecordWriter
    checkpoint: Path
    lowest: Lowest
    keep: Collection[int]
    watch: Watch
    team: Team
    shared: LanguageModel  # the model as the team trains it; alone, the model itself
    engine: Engine


def _train(
    run: _Run, on_progress: Callable[[Progress], None] | None, checkpoint_seconds: float
) -> End:
    spec, model, optimizer, state = run.spec, run.model, run.optimizer, run.state
    batches = Batches(run.tokens, spec, run.team)
    add_gradients = gradients(run.shared, run.engine, spec.micro_batch // spec.shape.n_ctx)
    text = held_out_text(spec, run.tokens, run.others)
    points = set(evaluation_steps(spec, text.block_tokens, text.final_tokens))
    clock, told, saved = _Clock(state), -math.inf, time.perf_counter()
    for step in range(state.step, spec.steps):
        set_rate(optimizer, learning_rate(spec, step))
        seed_dropout(spec, step, run.team.rank)
        loss = add_gradients(*batches(step))
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
        state.loss_sum, state.loss_count = state.loss_sum + value, state.loss_count + 1
        if on_progress and (state.seconds - told >= PROGRESS_SECONDS or state.step == spec.steps):
            told = state.seconds
            on_progress(_progress(run))
        if state.step in points:
            point = _point(run, *_timed(run, lambda: text.at_point(run.shared)))
            if spec.patience and run.lowest.take(point, model, optimizer):
                break
        if state.step in run.keep:
            kept = kept_path(run.checkpoint.parent, spec.run_id, state.step)
            run.watch.check()
            try_save(kept, model, optimizer, state)
        if due and state.step < spec.steps:
            run.watch.check()
            if try_save(run.checkpoint, model, optimizer, state) and run.team.leads:
                run.lowest.clear(others=True)
            saved = time.perf_counter()
    if spec.patience:
        run.lowest.restore(model, optimizer)
    best = run.lowest.point if spec.patience else None
    losses = _timed(run, lambda: text.at_end(run.shared, best.step if best else state.step))
    run.watch.check()
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


def evaluation_steps(spec: RunSpec, block_tokens: int, final_tokens: int) -> list[int]:
    """Steps after which the held-out block is evaluated: logarithmically spaced, at most a fifth.

    The first lies at a thirtieth of the run, the last at its end; with `patience`, which counts
    points, they are evenly spaced, each for as many steps. Points are left out until all
    evaluation, the final one included, costs at most 20 % of the run, a token evaluated counting
    0.4 of a token trained; the point at the end stays, whatever it costs. Of a branch all this is
    said of the steps after its trunk.
    block_tokens, final_tokens: held-out tokens of one point and of the final evaluation.
    """
    allowed = EVALUATION_SHARE / (1 - EVALUATION_SHARE) / FORWARD_SHARE * spec.tokens_paid
    count = min(spec.eval_points, max(1, int((allowed - final_tokens) // block_tokens)))
    first = max(1, spec.branch_step + (spec.steps - spec.branch_step) // FIRST_POINT)
    if count == 1:
        return [spec.steps]
    if spec.patience:
        even = np.linspace(spec.steps / count, spec.steps, count).round()
        return sorted({max(1, int(step)) for step in even})
    steps = {int(s) for s in np.geomspace(first, spec.steps, count).round()}
    return sorted(step for step in steps if step > spec.branch_step)


def _engine(engine: Engine, spec: RunSpec, began: Mapping[str, Any] | None, team: Team) -> Engine:
    """The engine of a run, the same in every process of a team: each way only if all chose it."""
    if team.size > 1:
        if True in (engine.compiled, engine.graph):
            raise InputError("compiled and graph are for one process alone; leave them out")
        device = str(team.device) if engine.device == "auto" else engine.device
        # Decided here, for a run that began alone may have had them.
        engine = replace(engine, device=device, compiled=False, graph=False)
    engine = settle(engine, spec, began=began, processes=team.size)
    narrow, blocked = all_say(team, [engine.precision == "bfloat16", engine.attention == "blocked"])
    return replace(
        engine,
        precision="bfloat16" if narrow else "float32",
        attention="blocked" if blocked else "fused",
    )


def _check_same_text(
    old: Run, tokens: TokenSet, others: Mapping[str, TokenSet], path: Path
) -> None:
    known = old.corpus.get("eval_corpora", {})
    for name, other in others.items():
        if known.get(name) != other.hash:
            raise InputError(
                f"{path.name} was evaluated on another text as {name!r} (hash "
                f"{str(known.get(name))[:12]}, now {other.hash[:12]}): train into another folder"
            )
    if old.corpus.get("hash", tokens.hash) != tokens.hash:
        raise InputError(
            f"{path.name} was trained on the corpus {old.corpus['hash'][:12]}, and "
            f"{tokens.name!r} is {tokens.hash[:12]}: train into another folder"
        )


def _corpus(spec: RunSpec, tokens: TokenSet, others: Mapping[str, TokenSet]) -> dict[str, Any]:
    part = training_part(spec, tokens)
    chosen: dict[str, Any] = {}
    if spec.unique_tokens:
        chosen["subset"] = {**part.meta["subset"], "hash": part.hash}
    if others:
        chosen["eval_corpora"] = {name: other.hash for name, other in others.items()}
    return {
        "name": tokens.name,
        "hash": tokens.hash,
        "tokens": len(tokens.train),
        "bytes_per_token": tokens.bytes_per_token,
        "tokenizer": tokens.tokenizer,
        "vocab": tokens.vocab,
        **chosen,
    }


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
    best = run.lowest.point if run.spec.patience and not reason else None
    step = state.step if best is None else best.step
    stopped = best is not None and state.step < run.spec.steps
    measured: dict[str, Any] = {}
    if losses:
        measured = {name: getattr(losses[0], name) for name in ("loss", "se", "bits_per_byte")}
        measured["eval_tokens"] = losses[0].tokens
        measured["eval_documents"] = len(losses[0].documents)
    for one in losses if not reason else ():
        run.writer.held_out(one)
    run.watch.check()  # an end is for good, and of the text it names
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
