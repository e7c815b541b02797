"""Promises of the design that a reader cannot see at a glance, each kept by a test."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import isoloss

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "isoloss"

FLOORS = {
    "distributions": 0,
    "errors": 0,
    "files": 0,
    "units": 0,
    "counting": 1,
    "laws": 1,
    "noise": 1,
    "runs": 2,
    "fitting": 3,
    "trust": 4,
    "planning": 5,
    "figures": 6,
    "reporting": 7,
    "explorer": 8,
    "lab": 8,
    "integrations": 9,
    "experiments": 9,
    "cli": 10,
    "__main__": 11,
}
SIBLINGS = {("laws", "counting"), ("units", "errors"), ("files", "errors")}
BELOW_THE_LAB = {"distributions", "errors", "files", "units", "counting", "laws", "noise", "runs"}
LAB_FLOORS = {
    "corpus": 1,
    "processes": 1,
    "tokens": 1,
    "eval_sets": 1,
    "models": 2,
    "noise_meter": 2,
    "batch_size": 3,
    "parallel": 3,
    "training": 3,
    "engine": 3,
    "coordinates": 3,
    "evaluate": 3,
    "train": 3,
    "member": 4,
    "sweep": 4,
    "__init__": 5,
    "__main__": 5,
}
FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "types", "misc"}
HEAVY = ("torch", "scipy", "polars", "pandas", "matplotlib", "plotly", "transformers", "lightning")
VERBS = [
    "demo",
    "corpus",
    "count",
    "train",
    "sweep",
    "fit",
    "backtest",
    "tune",
    "compare",
    "track",
    "plan",
    "next",
    "gns",
    "report",
    "laws",
]


def module_name(path: Path) -> str:
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(SOURCE.rglob("*.py"))}


def imports_of(name: str) -> set[str]:
    """Every module of isoloss that this one imports, inside functions too."""
    path = MODULES[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                if base == "isoloss" and inner not in MODULES:
                    inner = f"isoloss.{isoloss._HOME[alias.name]}"
                found.add(inner if inner in MODULES else base)
    return {target for target in found if target.split(".")[0] == "isoloss"} - {name}


IMPORTS = {name: imports_of(name) for name in MODULES}


def room_of(name: str) -> str:
    return name.split(".")[1]


@pytest.mark.parametrize("name", [name for name in MODULES if name != "isoloss"])
def test_a_module_imports_only_from_the_floors_below(name: str) -> None:
    room = room_of(name)
    for target in IMPORTS[name]:
        assert target != "isoloss", f"{name} imports the top of the package"
        other = room_of(target)
        if other == room or (room, other) in SIBLINGS:
            continue
        assert FLOORS[other] < FLOORS[room], f"{name} imports {target}, which is not below it"
        if room == "lab":
            assert other in BELOW_THE_LAB, f"{name} (lab) imports {target}"


@pytest.mark.parametrize("name", [n for n in MODULES if n.startswith("isoloss.lab.")])
def test_the_lab_imports_no_higher_floor_of_the_lab(name: str) -> None:
    floor = LAB_FLOORS[name.split(".")[2]]
    for target in IMPORTS[name]:
        if target.startswith("isoloss.lab."):
            assert LAB_FLOORS[target.split(".")[2]] <= floor, f"{name} imports {target}"


def test_no_imports_go_in_a_circle() -> None:
    rooms = {name: targets for name, targets in IMPORTS.items() if name != "isoloss"}
    list(TopologicalSorter(rooms).static_order())


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_short_and_named_after_its_noun(name: str) -> None:
    path = MODULES[name]
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400
    assert not FORBIDDEN_NAMES & set(name.split("."))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_says_what_it_decides_in_plain_ascii_identifiers(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"{name} has no docstring"
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            assert node.id.isascii()
        elif isinstance(node, ast.arg):
            assert node.arg.isascii()


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return done.stdout


def test_every_public_name_loads_and_none_loads_a_heavy_package() -> None:
    code = (
        "import sys, json, isoloss\n"
        "first = sorted(m for m in sys.modules if m.startswith('isoloss.'))\n"
        "[getattr(isoloss, name) for name in isoloss.__all__]\n"
        "import isoloss.cli, isoloss.lab\n"
        f"print(json.dumps([first, [m for m in {HEAVY!r} if m in sys.modules]]))\n"
    )
    first, heavy = json.loads(run_python(code))
    assert first == [], "import isoloss loads rooms before they are used"
    assert heavy == []


def test_the_lab_needs_only_numpy_and_torch_at_import() -> None:
    pytest.importorskip("torch")
    code = (
        "import sys, importlib, json\n"
        "blocked = ('rich', 'cyclopts', 'polars', 'narwhals', 'tokenizers', 'zstandard', 'scipy')\n"
        "sys.modules.update(dict.fromkeys(blocked))\n"
        f"for name in {sorted(n for n in MODULES if n.startswith('isoloss.lab'))!r}:\n"
        "    if not name.endswith('__main__'): importlib.import_module(name)\n"
    )
    run_python(code)


def test_exported_names_are_sorted_and_known_to_type_checkers() -> None:
    assert isoloss.__all__ == sorted(isoloss.__all__)
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    typed = {
        alias.asname: f"isoloss.{isoloss._HOME.get(str(alias.asname))}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("isoloss")
        for alias in node.names
    }
    assert sorted(str(name) for name in typed) == isoloss.__all__
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("isoloss"):
            assert all(typed[alias.asname] == node.module for alias in node.names)


SCRIPTS = sorted(p.name for p in (ROOT / "benchmarks").glob("[!_]*.py"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_benchmark_runs_when_called(name: str) -> None:
    called = (ROOT / "benchmarks" / name).read_text().rstrip().splitlines()[-2:]
    assert called == ['if __name__ == "__main__":', "    main()"]


def test_the_version_is_the_one_of_the_changelog_and_the_citation() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\d\S*)", changes, flags=re.MULTILINE)
    assert newest
    assert newest[1] == isoloss.__version__
    assert "### Numbers" in changes
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"version: {isoloss.__version__}" in citation


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_is_documented_and_helps(verb: str) -> None:
    pages = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert re.search(rf"^## `isoloss {verb}\b", pages, flags=re.MULTILINE)
    done = subprocess.run(
        [sys.executable, "-m", "isoloss", verb, "--help"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "--json" in done.stdout or verb == "corpus"
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_the_documented_verbs_are_the_verbs() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "isoloss", "--help"], capture_output=True, text=True, timeout=120
    )
    listed = set(re.findall(r"^\W*(?<!-)([a-z]+)  +\S", done.stdout, flags=re.MULTILINE))
    assert listed == set(VERBS)


FIVE_LINES = """
import sys
import numpy as np
import isoloss as il
rng = np.random.default_rng(0)
n, d = 10 ** rng.uniform(7, 9, 40), 10 ** rng.uniform(9, 11, 40)
loss = il.published.HOFFMANN_2022.law(n, d) * np.exp(0.003 * rng.standard_normal(40))
runs = il.Runs(n=n, d=d, loss=loss)
fit = il.fit(il.Chinchilla, runs)
plan = il.plan(il.bootstrap(fit, draws=100, seed=0), flops=1e21)
assert plan.n.low <= plan.n.mid <= plan.n.high
"""


@pytest.mark.full
def test_the_bare_wheel_installs_and_runs(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "build", "--wheel", "--outdir", str(tmp_path), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True, timeout=600)
    (wheel,) = tmp_path.glob("*.whl")
    venv = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True, timeout=300)
    python = venv / "bin" / "python"
    pins = ["-c", str(ROOT / "constraints.txt")]
    subprocess.run(
        [python, "-m", "pip", "install", "-q", *pins, wheel], check=True, timeout=600, cwd=tmp_path
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}

    def bare(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python), *words],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            env=environment,
        )

    listed = json.loads(bare("-m", "pip", "list", "--format=json").stdout)
    names = {entry["name"].lower() for entry in listed}
    assert not names & {*HEAVY, "tokenizers", "zstandard"}

    assert bare("-c", FIVE_LINES).returncode == 0
    for words in (["laws"], ["plan", "--flops", "1e21"], ["plan", "--flops", "1e21", "--json"]):
        done = bare("-m", "isoloss", *words)
        assert done.returncode == 0, done.stderr
    missing = bare("-m", "isoloss", "demo", "out")
    assert missing.returncode == 1
    assert missing.stdout == ""
    assert "isoloss[" in missing.stderr
    assert len(missing.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
