"""Runs with a known answer, at the scale of the demo: a Chinchilla law with noise.

Three IsoFLOP budgets, a ladder below them, seeds of one configuration, and learning curves.
"""

from __future__ import annotations

import numpy as np

from isoloss.counting import Shape, count_all, flops_all
from isoloss.laws import Chinchilla
from isoloss.runs import Runs

LAW = Chinchilla(E=1.05, A=22.0, B=900.0, alpha=0.36, beta=0.49)
NOISE = 0.004
COUNT, COST = "non_embedding_plus_head", "exact"
SIZES = ((2, 8), (2, 12), (2, 16), (2, 20), (3, 24), (3, 32), (4, 40), (4, 48), (4, 64))
SHAPES = [Shape(layers, width, width // 4, vocab=256, n_ctx=128) for layers, width in SIZES]


def demo_runs(seed: int = 0) -> Runs:
    """Simulate the demo's sweep, with curves, counted every way."""
    random = np.random.default_rng(seed)
    design = [
        (shape, budget / flops_all(shape)[COST], f"isoflop-{index}", 0)
        for index, budget in enumerate((1.45e11, 3.2e11, 7e11))
        for shape in SHAPES
        if 3e5 <= budget / flops_all(shape)[COST] <= 8e6
    ]
    design += [
        (SHAPES[at], d, "ladder", 0) for at in (2, 4) for d in (2.5e5, 4e5) if at == 2 or d < 3e5
    ]
    shape, d, group, _ = design[4]
    design += [(shape, d, group, 1), (shape, d, group, 2)]
    rows: dict[str, list[float]] = {"d": [], "loss": [], "seed": []}
    points: dict[str, list[float]] = {"d": [], "loss": []}
    shapes, names, groups, point_shapes, point_names = [], [], [], [], []
    for number, (shape, d, group, seed_of_run) in enumerate(design):
        final = float(LAW(count_all(shape)[COUNT], d) * np.exp(NOISE * random.standard_normal()))
        name = f"{group}-L{shape.n_layer}w{shape.d_model}-{number}"
        for share in np.geomspace(0.03, 1.0, 8):
            above = 1.0 if share == 1 else 1.02
            early = float(LAW(count_all(shape)[COUNT], d * share)) * above
            points["d"].append(d * share)
            points["loss"].append(final if share == 1 else min(early, 5.5))
            point_shapes.append(shape)
            point_names.append(name)
        rows["d"].append(d)
        rows["loss"].append(final)
        rows["seed"].append(seed_of_run)
        shapes.append(shape)
        names.append(name)
        groups.append(group)
    curves = _table(point_shapes, points, run=point_names)
    return _table(
        shapes,
        rows,
        run=names,
        group=groups,
        source="a simulation",
        notes=("2 runs diverged and were left out: <b>isoflop-1</b> & another",),
        curves=curves,
    )


def plain_runs(count: int = 60, seed: int = 1) -> Runs:
    """Simulate a table that gives only n, d and loss, at the scale of the papers."""
    random = np.random.default_rng(seed)
    n, d = 10 ** random.uniform(7.5, 9.5, count), 10 ** random.uniform(9, 11, count)
    law = Chinchilla(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)
    return Runs(n=n, d=d, loss=law(n, d) * np.exp(0.003 * random.standard_normal(count)))


def _table(shapes: list[Shape], columns: dict[str, list[float]], **more: object) -> Runs:
    counts = [count_all(shape) for shape in shapes]
    per_token = [flops_all(shape) for shape in shapes]
    d = np.array(columns["d"])
    costs = {key: np.array([f[key] for f in per_token]) * d for key in per_token[0]}
    return Runs(
        n=np.array([count[COUNT] for count in counts], dtype=float),
        c=costs[COST],
        n_convention=COUNT,
        c_convention=COST,
        counts={key: np.array([n[key] for n in counts], dtype=float) for key in counts[0]},
        costs=costs,
        **columns,  # type: ignore[arg-type]
        **more,  # type: ignore[arg-type]
    )
