"""The record of one run: append-only JSON lines, the waist between the lab and the analysis.

    {"kind": "spec", ...}    first: what was run, on what text and machine, counted every way
    {"kind": "point", ...}   one evaluation: step, tokens, loss, se, train_loss, lr, seconds
    {"kind": "noise", ...}   squared gradient norms at two batch sizes
    {"kind": "held_out", ..} the final loss on one corpus, along the context and by document
    {"kind": "end", ...}     last: finished, diverged or stopped; a run without it is unfinished

A line is written whole and synced before the next begins, so a kill tears at most the last line,
and a torn last line is simply an unfinished run. Garbage anywhere else is refused. The file is
strict JSON: a number that is not finite is written as null and read back as NaN.
Losses are in nats per token, `se` is a standard error over documents, times are in seconds.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, get_args

from isoloss.counting import count_all, flops_all, params_by_group
from isoloss.errors import InputError
from isoloss.runs.held_out import HeldOutLosses, OtherLoss, read_held_out, read_other_losses
from isoloss.runs.journal import SCHEMA, append, encode, open_locked, scan, strict, sync_folder
from isoloss.runs.journal import RecordInUseError as RecordInUseError
from isoloss.runs.lines import build, check_header
from isoloss.runs.spec import RunSpec

EndStatus = Literal["finished", "diverged", "stopped"]
NAN = math.nan


@dataclass(frozen=True)
class Point:
    """One evaluation on the fixed block: loss and se in nats per token, train_loss likewise.

    others: the loss on each of `RunSpec.eval_corpora`.
    """

    step: int
    tokens: int
    loss: float
    se: float = NAN
    train_loss: float = NAN
    lr: float = NAN
    seconds: float = NAN
    others: tuple[OtherLoss, ...] = ()


@dataclass(frozen=True)
class Noise:
    """Squared gradient norms of mean gradients over `small` and over `big` tokens.

    step, tokens: with the update made of these gradients. Parts of unlike size stand for equal ones
    of a size that need not be whole (`noise.effective_small`).
    """

    step: int
    tokens: int
    small: float
    big: float
    sq_small: float
    sq_big: float


@dataclass(frozen=True)
class End:
    """How a run ended, and its loss on the final held-out tokens (nats per token).

    step, tokens: what the model of that loss has seen. start: the step it began at, 0 unless it
    left a trunk, whose steps up to there it did not do itself. last: the last step done, where that
    is not `step` since a later state was worse (`RunSpec.patience`), else 0. tokens_per_second,
    flops_per_second: of training, evaluation left out, by the exact count. utilisation: what that
    is of the rate at which the device multiplies large matrices (`matmul_flops_per_second` of the
    machine). peak_memory_gb: 1e9 bytes, of the process, or on a GPU of what it held there.
    """

    status: EndStatus
    step: int
    tokens: int
    loss: float = NAN
    se: float = NAN
    bits_per_byte: float = NAN
    eval_tokens: int = 0
    eval_documents: int = 0
    train_loss: float = NAN
    seconds: float = NAN
    eval_seconds: float = NAN
    tokens_per_second: float = NAN
    reason: str = ""
    start: int = 0
    last: int = 0
    flops_per_second: float = NAN
    utilisation: float = NAN
    peak_memory_gb: float = NAN


@dataclass(frozen=True)
class Run:
    """A record as read: the spec line's parts, the points so far, and the end if there is one.

    spec: `RunSpec.to_dict()`. params: parameters by group. n: parameters by convention.
    flops_per_token: training FLOPs per token by convention. A record torn in its first line has
    the file's name as run_id and everything else empty. held_out: the final losses taken apart, on
    the corpus of the run and then on each of `eval_corpora`; empty in older records.
    """

    run_id: str
    group: str
    spec: Mapping[str, Any]
    params: Mapping[str, int]
    n: Mapping[str, int]
    flops_per_token: Mapping[str, float]
    corpus: Mapping[str, Any]
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    points: tuple[Point, ...] = ()
    noise: tuple[Noise, ...] = ()
    end: End | None = None
    held_out: tuple[HeldOutLosses, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the run reached its last step with a finite loss."""
        return self.end is not None and self.end.status == "finished"

    @property
    def diverged(self) -> bool:
        """Whether the loss became non-finite."""
        return self.end is not None and self.end.status == "diverged"

    @property
    def tokens_paid(self) -> int:
        """Tokens that the run trained on itself, not its trunk, to its very last step."""
        end = self.end
        if end is None:
            return 0
        after = end.last - end.step if end.last else 0
        return end.tokens + (after - end.start) * int(self.spec["batch"])

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do: finished or diverged."""
        return self.finished or self.diverged


class RecordWriter:
    """The one writer of one record; every call appends a line and syncs it to disk.

    `RecordWriter(path)` starts a record and refuses a file that already holds lines;
    `RecordWriter.resume(path, step)` goes on with one. Use as a context manager, or close().
    The file is locked while open: a second writer raises RecordInUseError.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        self._file = open_locked(self._path)
        self._run_id: str | None = None
        try:
            if scan(self._file.read(), self._path):
                raise InputError(f"{path}: already holds a record; resume it or use another folder")
            self._file.truncate(0)
        except BaseException:
            self._file.close()
            raise

    @classmethod
    def resume(cls, path: str | Path, step: int) -> RecordWriter:
        """Open a record to go on after `step`, keeping its first line and lines up to that step.

        The rewrite is atomic; a torn last line and any end line are dropped. step -1 keeps the
        first line alone. A missing file, or one torn in its first line, starts afresh.
        """
        path = Path(path)
        with open_locked(path) as file:
            lines = scan(file.read(), path)
            kept = [
                line
                for line in lines
                if line["kind"] == "spec"
                or (line["kind"] not in ("held_out", "end") and line["step"] <= step)
            ]
            temporary = path.with_name(f".{path.name}.tmp")
            fresh = open_locked(temporary)
            try:
                fresh.truncate(0)
                append(fresh, b"".join(encode(line) for line in kept))
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                fresh.close()
                raise
            sync_folder(path.parent)
        writer = cls.__new__(cls)
        writer._path, writer._file = path, fresh
        writer._run_id = str(kept[0]["run"]) if kept else None
        return writer

    def header(
        self,
        spec: RunSpec,
        corpus: Mapping[str, Any],
        machine: Mapping[str, Any],
        versions: Mapping[str, str],
    ) -> None:
        """Write the spec line, with parameters and FLOPs counted every way.

        corpus: name, hash, tokens, bytes_per_token, tokenizer, vocab.
        On a resumed record that has its first line this only checks that the run is the same.
        """
        if self._run_id is not None:
            if self._run_id != spec.run_id:
                raise InputError(
                    f"{self._path}: is the record of {self._run_id}, not of {spec.run_id}"
                )
            return
        self._write(
            {
                "kind": "spec",
                "schema": SCHEMA,
                "run": spec.run_id,
                "group": spec.group,
                "spec": spec.to_dict(),
                "params": params_by_group(spec.shape),
                "n": count_all(spec.shape),
                "flops_per_token": flops_all(spec.shape),
                "corpus": dict(corpus),
                "machine": dict(machine),
                "versions": dict(versions),
            }
        )
        self._run_id = spec.run_id

    def point(
        self,
        step: int,
        tokens: int,
        loss: float,
        se: float = NAN,
        train_loss: float = NAN,
        lr: float = NAN,
        seconds: float = NAN,
        others: tuple[OtherLoss, ...] = (),
    ) -> Point:
        """Append one evaluation (fields as in `Point`) and return it."""
        point = Point(step, tokens, loss, se, train_loss, lr, seconds, others)
        line = {"kind": "point", **asdict(point)}
        self._write(line if others else {k: v for k, v in line.items() if k != "others"})
        return point

    def held_out(self, losses: HeldOutLosses) -> None:
        """Append the final loss on one corpus."""
        self._write({"kind": "held_out", **asdict(losses)})

    def noise(
        self, step: int, tokens: int, *, small: float, big: float, sq_small: float, sq_big: float
    ) -> None:
        """Append one pair of squared gradient norms (fields as in `Noise`)."""
        # A size that is whole is written so: what reads a record may be older than this.
        small, big = (int(size) if size == int(size) else size for size in (small, big))
        self._write({"kind": "noise", **asdict(Noise(step, tokens, small, big, sq_small, sq_big))})

    def end(self, status: EndStatus, *, step: int, tokens: int, **measured: Any) -> End:
        """Append the last line (fields as in `End`) and return it."""
        if status not in get_args(EndStatus):
            raise InputError(
                f"end status is {status!r}; use one of {', '.join(get_args(EndStatus))}"
            )
        end = End(status, step, tokens, **measured)
        self._write({"kind": "end", **asdict(end)})
        return end

    def close(self) -> None:
        """Close the file and give up the lock."""
        self._file.close()

    def __enter__(self) -> RecordWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _write(self, line: Mapping[str, Any]) -> None:
        if self._run_id is None and line["kind"] != "spec":
            raise InputError(f"{self._path}: write the header before {line['kind']} lines")
        append(self._file, encode(line))


def read_record(path: str | Path) -> Run:
    """Read one record, finished or not.

    Raises InputError naming the file and line: garbage before the last line, a first line that is
    no spec, steps that do not rise, lines after the end, a record by a newer isoloss.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such record") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    return parse_record(content, path)


def parse_record(content: bytes, path: Path) -> Run:
    """Read a record from its bytes, as `read_record`; path is where they are from, to name it."""
    lines = scan(content, path)
    if not lines:
        return Run(path.stem, "", {}, {}, {}, {}, {}, {}, {})
    spec = lines[0]
    check_header(spec, f"{path}, line 1")
    points: list[Point] = []
    noise: list[Noise] = []
    held_out: list[HeldOutLosses] = []
    end: End | None = None
    for number, line in enumerate(lines[1:], start=2):
        where = f"{path}, line {number}"
        if end is not None:
            raise InputError(f"{where}: a line after the end; one record holds one run")
        if line["kind"] == "point":
            point = _point(line, where)
            if points and point.step <= points[-1].step:
                raise InputError(
                    f"{where}: step {point.step} after step {points[-1].step}; steps must rise"
                )
            points.append(point)
        elif line["kind"] == "noise":
            noise.append(build(Noise, line, f"{where}: the noise line"))
        elif line["kind"] == "held_out":
            held_out.append(read_held_out(line, where))
        else:
            end = _end(line, where)
    return Run(
        run_id=str(spec["run"]),
        group=str(spec.get("group", "")),
        spec=spec["spec"],
        params=spec["params"],
        n=spec["n"],
        flops_per_token=spec["flops_per_token"],
        corpus=spec["corpus"],
        machine=spec["machine"],
        versions=spec["versions"],
        points=tuple(points),
        noise=tuple(noise),
        end=end,
        held_out=tuple(held_out),
    )


_OF_THE_MACHINE = (
    "seconds",
    "eval_seconds",
    "tokens_per_second",
    "flops_per_second",
    "utilisation",
    "peak_memory_gb",
)


def content(run: Run) -> dict[str, Any]:
    """Return the record without time and machine: equal for two runs that did the same.

    A plain dict that compares with ==, NaN given as None; a run killed and resumed has the same
    content as one that was left alone.
    """
    plain = asdict(run)
    del plain["machine"]
    for part in (*plain["points"], *([plain["end"]] if plain["end"] else [])):
        for name in _OF_THE_MACHINE:
            part.pop(name, None)
    cleaned: dict[str, Any] = strict(plain)
    return cleaned


def _end(line: Mapping[str, Any], where: str) -> End:
    end = build(End, line, f"{where}: the end line")
    if end.status not in get_args(EndStatus):
        raise InputError(f"{where}: end status {end.status!r} is not known")
    return end


def _point(line: Mapping[str, Any], where: str) -> Point:
    others = read_other_losses(line.get("others", []), where)
    return build(Point, {**line, "others": list(others)}, f"{where}: the point line")
