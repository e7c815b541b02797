"""Headers met in the wild, with made-up values: each is read with nothing said about it.

Three runs stand behind every table: N, D and loss below, batches of 512 sequences of 2,048 tokens.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from isoloss.runs import Runs, read_runs

N = [12e6, 35e6, 190e6]
D = [1.048576e9, 2.097152e9, 8.388608e9]
LOSS = [4.1, 3.6, 3.05]
SIX = [6 * n * d for n, d in zip(N, D, strict=True)]
BATCH = 512 * 2048
STEPS = [d / BATCH for d in D]


def read(folder: Path, header: str, **columns: object) -> Runs:
    """Write a CSV with the header as published; columns not given hold something else."""
    names = header.split(",")
    assert set(columns) <= set(names), set(columns) - set(names)
    rows = [header]
    for row in range(3):
        cells = []
        for i, name in enumerate(names):
            value = columns.get(name, f"text{i}" if i % 2 else 1000 + i + row)
            cells.append(str(value[row] if isinstance(value, list) else value))
        rows.append(",".join(cells))
    path = folder / "runs.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    runs = read_runs(path)
    np.testing.assert_allclose(runs.loss, LOSS, rtol=1e-12)
    return runs


def test_nanochat(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "flops_budget,depth,model_dim,params_wte,params_value_embeds,params_lm_head,"
        "params_transformer,params_scalars,params_total,num_iterations,tokens_trained,val_bpb,"
        "core_score,train_time_sec",
        flops_budget="1e18",
        params_wte=[1e6, 2e6, 3e6],
        params_lm_head=[2e6, 5e6, 40e6],
        params_transformer=[10e6, 30e6, 150e6],
        params_total=[14e6, 40e6, 200e6],
        num_iterations=STEPS,
        tokens_trained=D,
        val_bpb=LOSS,
    )
    assert runs.n.tolist() == N  # the matrices and the head: what fits best there
    assert runs.n_convention == "non_embedding_plus_head"
    assert runs.d.tolist() == D
    assert runs.c.tolist() == [1e18] * 3
    assert runs.counted("total").n.tolist() == [14e6, 40e6, 200e6]
    assert runs.counted("non_embedding").n.tolist() == [10e6, 30e6, 150e6]
    assert runs.loss_unit == "bits per byte"
    assert any("bits per byte" in note for note in runs.notes)
    assert any("planned" in note for note in runs.notes)
    assert runs.steps is not None
    assert runs.steps.tolist() == STEPS


def test_marinfold(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "run_name,run_id,run_state,budget,budget_label,params_label,params_planned,tokens_planned,"
        "batch,lr,beta2,parameter_count,total_tokens,total_gflops,achieved_flops,cd_val_loss,"
        "eval_step",
        run_name=["fold-a", "fold-b", "fold-b"],
        run_id=["x1", "x2", "x3"],
        run_state="finished",
        budget=["3e18", "3e18", "1e19"],
        params_planned=["12M", "35M", "190M"],
        batch=64,
        lr=0.002,
        parameter_count=N,
        total_tokens=D,
        total_gflops=[c / 1e9 for c in SIX],
        achieved_flops=[c * 1.0000001 for c in SIX],
        cd_val_loss=LOSS,
    )
    assert runs.n.tolist() == N
    assert runs.d.tolist() == D
    np.testing.assert_allclose(runs.c, SIX, rtol=1e-6)
    assert runs.run.tolist() == ["x1", "x2", "x3"]
    assert runs.batch is None
    assert any("'batch' is left out: tokens or sequences" in note for note in runs.notes)
    assert any("'budget' could also be it" in note for note in runs.notes)
    assert runs.lr is not None
    assert runs.lr.tolist() == [0.002] * 3


def test_misfitting(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "loss,C4 Eval Loss,N,N_no_emb,D,C,C_no_emb,C_6ND,C_6ND_no_emb,portion_steps_elapsed,model,"
        "train_tokens,total_steps,current_steps,total_epochs,current_epoch,peak_lr,sweep",
        **{"loss": LOSS, "C4 Eval Loss": [5.0, 4.0, 3.0], "N": ["12M", "35M", "190M"]},
        N_no_emb=["802.8K", "20.1M", "150M"],
        D=D,
        C=SIX,
        C_6ND=SIX,
        portion_steps_elapsed=[0.5, 1.0, 1.0],
        train_tokens=[2 * D[0], D[1], D[2]],
        current_steps=STEPS,
        total_steps=[2 * STEPS[0], STEPS[1], STEPS[2]],
        peak_lr=0.004,
        sweep="test",
    )
    assert runs.n.tolist() == N
    assert runs.n_convention == "unknown"
    assert runs.counts["non_embedding"].tolist() == [802_800, 20.1e6, 150e6]
    assert runs.d.tolist() == D
    assert runs.c.tolist() == SIX
    assert runs.c_convention == "6nd"
    assert runs.steps is not None
    assert runs.steps.tolist() == STEPS
    assert runs.group.tolist() == ["test"] * 3
    notes = " | ".join(runs.notes)
    assert "loss is taken from 'loss'; 'C4 Eval Loss' could also be it" in notes
    assert "d is taken from 'D'; 'train_tokens' could also be it" in notes
    assert "1 rows are before the end of their run" in notes


def test_epoch(tmp_path: Path) -> None:
    runs = read(tmp_path, "x,y,color,N,C,hex_color,loss", N=N, C=SIX, loss=LOSS)
    assert runs.n.tolist() == N
    np.testing.assert_allclose(runs.d, D, rtol=1e-12)
    assert runs.c.tolist() == SIX
    assert runs.c_convention == "6nd"
    assert any("d is derived as c / (6 n)" in note for note in runs.notes)


def test_isoflop_experiments(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "source,dataset,model,experiment,tokens,params,budget,loss",
        experiment=["one", "one", "two"],
        tokens=D,
        params=N,
        budget=["1e17", "5e17", "1e19"],
        loss=LOSS,
    )
    assert runs.n.tolist() == N
    assert runs.d.tolist() == D
    assert runs.c.tolist() == [1e17, 5e17, 1e19]
    assert runs.c_convention == "reported"
    assert runs.group.tolist() == ["one", "one", "two"]


def test_step_law(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "h,ffnh,numh,numl,lr,bs,ti,loss,smooth loss,exp_name,D,N,D/N",
        lr=0.001,
        bs=512,
        ti=STEPS,
        loss=LOSS,
        exp_name=["a", "b", "c"],
        D=D,
        N=N,
        **{"smooth loss": [x + 0.001 for x in LOSS]},
    )
    assert runs.n.tolist() == N
    assert runs.d.tolist() == D
    assert runs.batch is not None
    assert runs.batch.tolist() == [BATCH] * 3  # D / ti says that bs counts sequences
    assert runs.run.tolist() == ["a", "b", "c"]
    assert any("sequences of 2048 tokens" in note for note in runs.notes)
    assert any("'smooth loss' could also be it" in note for note in runs.notes)


def test_datablations(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "data,epochs,token_num,loss,num_params,tokens_per_epoch,flops",
        epochs=[4, 2, 1],
        token_num=D,
        loss=LOSS,
        num_params=N,
        tokens_per_epoch=[D[0] / 4, D[1] / 2, D[2]],
        flops=SIX,
    )
    assert runs.d.tolist() == D
    assert runs.unique_tokens is not None
    assert runs.unique_tokens.tolist() == [D[0] / 4, D[1] / 2, D[2]]


def test_chinchilla_and_optiscale(tmp_path: Path) -> None:
    runs = read(tmp_path, "C,N,D,loss", C=SIX, N=N, D=D, loss=LOSS)
    assert runs.n.tolist() == N
    assert runs.notes == ()
    runs = read(tmp_path, "N,D,L,optimizer", N=N, D=D, L=LOSS, optimizer="muon")
    assert runs.d.tolist() == D
    assert runs.c_convention == "6nd"


def test_simple_scaling_laws(tmp_path: Path) -> None:
    runs = read(
        tmp_path,
        "training_run_id,model_size__params,dataset_size__tokens,test_loss__nll,test_loss__top1,"
        "optimizer_seed",
        training_run_id=["r0", "r1", "r2"],
        model_size__params=N,
        dataset_size__tokens=D,
        test_loss__nll=LOSS,
        test_loss__top1=[0.5, 0.4, 0.3],
        optimizer_seed=[7, 8, 7],
    )
    assert runs.n.tolist() == N
    assert runs.d.tolist() == D
    assert runs.run.tolist() == ["r0", "r1", "r2"]
    assert runs.seed is not None
    assert runs.seed.tolist() == [7, 8, 7]
    assert any("'test_loss__top1' could also be it" in note for note in runs.notes)


@pytest.mark.parametrize(
    ("column", "unit"),
    [
        ("val_loss", "nats"),
        ("val/loss", "nats"),
        ("eval/loss", "nats"),
        ("eval_loss", "nats"),
        ("final_loss", "nats"),
        ("lm_loss", "nats"),
        ("loss_validation", "nats"),
        ("eval/lm/pile-validation/CE loss", "nats"),
        ("c4_en-validation/CrossEntropyLoss", "nats"),
        ("eval/paloma/c4_en/bpb", "bits per byte"),
        ("Eval-Loss", "nats"),
        ("train/loss", "nats"),
    ],
)
def test_loss_names(tmp_path: Path, column: str, unit: str) -> None:
    runs = read(tmp_path, f"params,tokens,{column}", params=N, tokens=D, **{column: LOSS})
    assert runs.loss_unit == unit
    assert ("train" in column) == any("training text" in note for note in runs.notes)


@pytest.mark.parametrize("column", ["C4 PPL", "ppl", "val_perplexity"])
def test_perplexity_takes_the_logarithm(tmp_path: Path, column: str) -> None:
    ppl = np.exp(LOSS).tolist()
    runs = read(tmp_path, f"params,tokens,{column}", params=N, tokens=D, **{column: ppl})
    assert runs.loss_unit == "nats"
    assert any("logarithm of the perplexity" in note for note in runs.notes)


@pytest.mark.parametrize(
    ("column", "scale"),
    [
        ("flops", 1.0),
        ("total_flos", 1.0),
        ("total_gflops", 1e9),
        ("throughput/total petaflops", 1e15),
        ("compute_pf_days", 8.64e19),
    ],
)
def test_compute_units(tmp_path: Path, column: str, scale: float) -> None:
    given = [1.1 * c / scale for c in SIX]
    header = f"params,tokens,loss,{column}"
    runs = read(tmp_path, header, params=N, tokens=D, loss=LOSS, **{column: given})
    np.testing.assert_allclose(runs.c, [1.1 * c for c in SIX], rtol=1e-12)
    assert runs.c_convention == "reported"
