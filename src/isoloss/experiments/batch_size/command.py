"""What the commands of the studies share: their arguments, their progress, and how they end."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from isoloss.errors import IsolossError
from isoloss.experiments.batch_size.kept import claim_page
from isoloss.experiments.batch_size.page import write_page
from isoloss.experiments.batch_size.scan import MakeTask
from isoloss.experiments.batch_size.study import StudyPlan, study


def run(
    make_task: MakeTask, plan: StudyPlan, quick: StudyPlan, words: Sequence[str] | None = None
) -> int:
    """The command of a domain: make its study, leave it in a folder, print its page.

    quick: the plan under --quick, which is for trying the command out. words: of the command line.
    Returns the exit code.
    """
    options = parser(f"{plan.paper.domain} of McCandlish et al., here.").parse_args(words)

    def page() -> str:
        found = study(
            make_task,
            quick if options.quick else plan,
            options.folder,
            workers=options.workers,
            tell=tell_lines,
        )
        return write_page(found, options.folder)

    return print_page(page, options.folder, "study")


def parser(description: str) -> argparse.ArgumentParser:
    """The arguments that every study takes."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--folder", type=_folder, required=True, help="gets runs, page and figures")
    found.add_argument("--workers", type=_count, help="processes; as many as cores by default")
    found.add_argument("--quick", action="store_true", help="a small plan, to try it out")
    return found


def _folder(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("the name of the folder is empty")
    return Path(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes; use 1 or more")
    return int(text)


def print_page(make: Callable[[], str], folder: Path, name: str) -> int:
    """Print the page that a study makes, or the one line that says why not; the exit code.

    folder, name: of the page; another's page or numbers of that name are not written over.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # small models gain nothing from more, and lose much to others' work
    try:
        claim_page(folder, name)
        print(make(), end="")
    except IsolossError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped; the same command goes on from the runs that are there", file=sys.stderr)
        return 130
    finally:
        torch.set_num_threads(threads)
    return 0


def tell_lines(what: str, done: float, total: float | None, note: str) -> None:
    """Progress as lines, which a log keeps too."""
    of = "" if total is None else f" ({done:.0f} of {total:.0f} done)"
    print(f"{what}{of} {note}".rstrip(), file=sys.stderr, flush=True)
