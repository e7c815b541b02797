"""The noise meter in other libraries' trainers, against gradients by hand of what they trained on.

Needs transformers, accelerate and lightning, which the full environment has.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from isoloss.errors import InputError

pytestmark = pytest.mark.full

KEYS = ["gns/b_simple", "gns/b_simple_low", "gns/b_simple_high", "gns/g2", "gns/tr_sigma"]
NO_NORMS = pytest.warns(UserWarning, match="not known of model.layers.0.input_layernorm")


@pytest.fixture(autouse=True)
def calm() -> Iterator[None]:
    """One thread, and the libraries' own warnings, which are not ours to mend, are not errors."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*LeafSpec.*is deprecated")  # lightning 2.6
        warnings.filterwarnings("ignore", message=r".*does not have many workers")  # lightning
        warnings.filterwarnings("ignore", message=r".*smaller than the logging interval")
        yield
    torch.set_num_threads(threads)


def numbers(row: dict[str, Any]) -> dict[str, float]:
    return {key: row[key] for key in KEYS if key in row}


def near(expected: dict[str, float], rel: float = 1e-4) -> Any:
    return pytest.approx(expected, rel=rel)


def same_weights(one: Any, other: Any) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(bool((p == q).all()) for p, q in pairs)


def with_meter(trainer: Any, **options: Any) -> Any:
    from isoloss.integrations.huggingface import NoiseScaleCallback

    callback = NoiseScaleCallback(trainer, **options)
    trainer.add_callback(callback)
    return callback


# Hugging Face -----------------------------------------------------------------------------------


def test_hugging_face_logs_what_is_right_and_trains_as_without(tmp_path: Path) -> None:
    import integrations_toy as toy

    rows = toy.sequences(26, shortest=3)
    options = {"eval_strategy": "steps", "eval_steps": 5, "save_strategy": "epoch"}
    plain, measured = (toy.hugging(tmp_path / name, rows, **options) for name in ("a", "b"))
    callback = with_meter(measured)
    for trainer in (plain, measured):
        trainer.train()

    def losses(trainer: Any) -> list[Any]:
        return [(row.get("loss"), row.get("eval_loss")) for row in trainer.state.log_history]

    assert losses(measured) == losses(plain)
    assert same_weights(measured.model, plain.model)
    # The last update of each epoch has one part, and is left out.
    updates = [one for one in measured.recorded.updates([4, 4, 4, 1] * 3) if len(one[1]) > 1]
    logged = [numbers(row) for row in measured.state.log_history if "loss" in row]
    for count, row in ((1, logged[0]), (4, logged[4]), (9, logged[-1])):
        assert row == near(toy.as_logged(toy.by_hand(updates[:count])))
    assert callback.read().steps == 12
    # Nothing is left behind, and what was written is strict JSON, without infinities.
    assert not {"training_step", "log"} & vars(measured).keys()
    assert "clip_grad_norm_" not in vars(measured.accelerator)
    assert all(not p._backward_hooks for p in measured.model.parameters())
    (state,) = (tmp_path / "b").glob("checkpoint-12/trainer_state.json")
    json.loads(state.read_text(), parse_constant=pytest.fail)


def test_hugging_face_without_clipping_and_with_parts_that_weigh_alike(tmp_path: Path) -> None:
    import integrations_toy as toy

    model = toy.make()
    model.accepts_loss_kwargs = False
    rows = toy.sequences(32, shortest=3)
    trainer = toy.hugging(tmp_path, rows, model, max_grad_norm=0.0, logging_steps=6)
    callback = with_meter(trainer, window=None)
    trainer.train()
    expected = toy.as_logged(toy.by_hand(trainer.recorded.updates([4] * 12), equal=True))
    logged = [numbers(row) for row in trainer.state.log_history if "loss" in row]
    assert len(logged) == 2
    assert logged[-1] == near(expected) == toy.as_logged(callback.read().scale)


def test_hugging_face_measures_examples_of_one_part(tmp_path: Path) -> None:
    import integrations_toy as toy

    settings = {"gradient_accumulation_steps": 1, "per_device_train_batch_size": 8}
    trainer = toy.hugging(tmp_path, toy.sequences(33), **settings)
    with_meter(trainer, examples=8)
    with NO_NORMS:  # Llama's own norm layers are left out
        trainer.train()
    seen = [n for n, p in trainer.model.named_parameters() if "norm" not in n]
    updates = [one for one in trainer.recorded.updates([1] * 15) if len(one[1][0]["labels"]) > 1]
    assert len(updates) == 12  # the last batch of each epoch is one sequence
    expected = toy.as_logged(toy.by_hand(updates, examples=True, only=seen))
    assert numbers(trainer.state.log_history[-2]) == near(expected)


def test_hugging_face_knows_what_shifts_its_labels(tmp_path: Path) -> None:
    import integrations_toy as toy
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaForTokenClassification

    small = GPT2Config(vocab_size=toy.VOCAB, n_embd=8, n_layer=1, n_head=1, n_positions=toy.LENGTH)
    models = {GPT2LMHeadModel(small): 9, LlamaForTokenClassification(toy.make().config): 10}
    for model, targets in models.items():
        rows = toy.sequences(8)
        for row in rows if targets == 10 else ():
            row["labels"] = row["labels"] % 2
        trainer = toy.hugging(tmp_path, rows, model, num_train_epochs=1)
        callback = with_meter(trainer)
        trainer.train()
        assert callback.read().tokens_per_sequence == targets
    model = GPT2LMHeadModel(small)  # whose layers are its own
    options = {"gradient_accumulation_steps": 1}
    trainer = toy.hugging(tmp_path, toy.sequences(8), model, **options)
    with_meter(trainer, examples=2)
    with pytest.raises(InputError, match=r"not known of .*c_attn.*set gradient_accumulation_steps"):
        trainer.train()


@pytest.fixture
def half_on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """fp16 with a scaler, which accelerate has for accelerators alone, on the CPU."""
    import torch
    from accelerate.state import AcceleratorState
    from integrations_toy import RecordingTrainer

    make = RecordingTrainer.create_accelerator_and_postprocess

    def create(self: Any) -> None:
        make(self)
        monkeypatch.setitem(AcceleratorState._shared_state, "_mixed_precision", "fp16")
        self.accelerator.native_amp = True
        self.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)

    monkeypatch.setattr(RecordingTrainer, "create_accelerator_and_postprocess", create)


@pytest.mark.usefixtures("half_on_cpu")
def test_hugging_face_unscales_fp16_and_bears_overflow(tmp_path: Path) -> None:
    import integrations_toy as toy

    trainer = toy.hugging(tmp_path, toy.sequences(32, shortest=3), num_train_epochs=6)
    callback = with_meter(trainer, window=None)
    trainer.train()
    found = callback.read()
    updates = toy.taken(trainer.recorded.updates([4] * 24), trainer.model)
    assert (found.steps, found.scale.steps) == (24, len(updates))
    assert 8 < len(updates) < 20  # until the scale has come down from 2^30, none
    logged = [numbers(row) for row in trainer.state.log_history if "loss" in row]
    assert logged[0] == {}
    assert logged[-1] == near(toy.as_logged(toy.by_hand(updates)), rel=0.03)


def test_hugging_face_trains_again_and_goes_on_with_an_empty_window(tmp_path: Path) -> None:
    import integrations_toy as toy

    trainer = toy.hugging(tmp_path, toy.sequences(16), save_strategy="epoch")
    callback = with_meter(trainer)
    trainer.train()
    assert callback.read().steps == 6
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert callback.read().steps == 2


def test_hugging_face_that_was_stopped_can_be_trained_again(tmp_path: Path) -> None:
    import integrations_toy as toy
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]
        armed = True

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if self.armed and state.global_step == 3:
                self.armed = False
                raise KeyboardInterrupt

    trainer = toy.hugging(tmp_path, toy.sequences(16))
    callback = with_meter(trainer)
    trainer.add_callback(Stop())
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    trainer.train()
    assert callback.read().steps == 6
    assert not {"training_step", "log"} & vars(trainer).keys()


@pytest.mark.parametrize(
    ("options", "set_on", "says"),
    [
        ({"gradient_accumulation_steps": 1}, {}, r"set gradient_accumulation_steps=2 or more"),
        ({}, {"is_deepspeed_enabled": True}, r"DeepSpeed.*train with DDP or FSDP2"),
        ({}, {"get_tp_size": lambda: 2}, r"tensor parallelism"),
        ({}, {"args._n_gpu": 2}, r"DataParallel.*torchrun"),
        (
            {},
            {"accelerator.state.fsdp_plugin": SimpleNamespace(fsdp_version=1)},
            r"FSDP1.*'version': 2",
        ),
    ],
)
def test_hugging_face_is_refused_what_cannot_be_measured(
    options: Any, set_on: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import integrations_toy as toy

    trainer = toy.hugging(tmp_path, toy.sequences(16), **options)
    callback = with_meter(trainer)
    for path, value in set_on.items():
        owner: Any = trainer
        *above, name = path.split(".")
        for step in above:
            owner = getattr(owner, step)
        monkeypatch.setattr(owner, name, value, raising=False)
    with pytest.raises(InputError, match=says):
        callback.on_train_begin(trainer.args, trainer.state, trainer.control)
    assert "training_step" not in vars(trainer)
    with pytest.raises(InputError, match="add the callback"):
        callback.read()


# Lightning --------------------------------------------------------------------------------------


def rows_of(folder: Path) -> list[dict[str, float]]:
    """What the CSV logger wrote of the noise scale."""
    (table,) = folder.rglob("metrics.csv")
    with table.open() as lines:
        found = [
            {key: float(row[key]) for key in KEYS if row.get(key)} for row in csv.DictReader(lines)
        ]
    return [row for row in found if row]


def test_lightning_logs_what_is_right_and_trains_as_without(tmp_path: Path) -> None:
    import integrations_toy as toy

    from isoloss.integrations.lightning import NoiseScaleCallback

    class Module(toy.Module):  # type: ignore[misc]
        def validation_step(self, batch: Any, index: int) -> Any:
            return self.model(**batch).loss

    rows, callback = toy.sequences(26), NoiseScaleCallback()
    plain, measured = Module(), Module()
    for name, module, callbacks in (("a", plain, []), ("b", measured, [callback])):
        trainer = toy.lightning(tmp_path / name, callbacks, val_check_interval=2)
        held_out = toy.loader(rows[:4], shuffle=False)
        trainer.fit(module, toy.loader(rows), held_out)
    assert measured.losses == plain.losses
    assert same_weights(measured, plain)
    # The last update of each epoch has one part, and is left out.
    updates = [one for one in measured.recorded.updates([4, 4, 4, 1] * 3) if len(one[1]) > 1]
    logged = rows_of(tmp_path / "b")
    assert len(logged) == 12
    for count, row in ((1, logged[0]), (4, logged[4]), (9, logged[-1])):
        assert row == near(toy.as_logged(toy.by_hand(updates[:count], equal=True)))
    assert all(not p._backward_hooks for p in measured.parameters())


@pytest.mark.parametrize("fused", [False, True])
def test_lightning_unscales_fp16_and_bears_overflow(fused: bool, tmp_path: Path) -> None:
    import integrations_toy as toy
    import torch
    from lightning.pytorch.plugins import MixedPrecision

    from isoloss.integrations.lightning import NoiseScaleCallback

    class Module(toy.Module):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:  # a fused one unscales in its own step
            return torch.optim.AdamW(self.parameters(), lr=0.02, fused=fused)

    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**30)
    callback, module = NoiseScaleCallback(window=None), Module()
    trainer = toy.lightning(
        tmp_path,
        [callback],
        plugins=[MixedPrecision("16-mixed", device="cpu", scaler=scaler)],
        gradient_clip_val=None if fused else 0.05,
        max_epochs=6,
        log_every_n_steps=12,
    )
    trainer.fit(module, toy.loader(toy.sequences(32)))
    found = callback.read()
    updates = toy.taken(module.recorded.updates([4] * 24), module.model)
    assert (found.steps, found.scale.steps) == (24, len(updates))
    assert 8 < len(updates) < 20
    assert rows_of(tmp_path)[-1] == near(toy.as_logged(toy.by_hand(updates)), rel=0.03)


def test_lightning_measures_examples_of_one_part(tmp_path: Path) -> None:
    import integrations_toy as toy

    from isoloss.integrations.lightning import NoiseScaleCallback

    module = toy.Module()
    callback = NoiseScaleCallback(examples=8)
    trainer = toy.lightning(tmp_path, [callback], accumulate_grad_batches=1)
    with pytest.warns(UserWarning, match="not known of model.model.layers.0.input_layernorm"):
        trainer.fit(module, toy.loader(toy.sequences(32), batch=8))
    seen = [n for n, p in module.model.named_parameters() if "norm" not in n]
    updates = module.recorded.updates([1] * 12)
    expected = toy.as_logged(toy.by_hand(updates, examples=True, only=seen))
    assert rows_of(tmp_path)[-1] == near(expected)


def test_lightning_leaves_out_what_has_no_loss(tmp_path: Path) -> None:
    import integrations_toy as toy

    from isoloss.integrations.lightning import NoiseScaleCallback

    class Module(toy.Module):  # type: ignore[misc]
        def training_step(self, batch: Any, index: int) -> Any:
            return None if index == 1 else super().training_step(batch, index)

    callback, module = NoiseScaleCallback(), Module()
    with pytest.warns(UserWarning, match="returned `None`"):
        toy.lightning(tmp_path, [callback]).fit(module, toy.loader(toy.sequences(32)))
    found = callback.read()
    assert (found.steps, found.scale.steps) == (12, 9)


def test_lightning_is_refused_what_cannot_be_measured(tmp_path: Path) -> None:
    import integrations_toy as toy
    import torch

    from isoloss.integrations.lightning import NoiseScaleCallback

    class Manual(toy.Module):  # type: ignore[misc]
        automatic_optimization = False

    class Again(toy.Module):  # type: ignore[misc]
        def configure_optimizers(self) -> Any:
            return torch.optim.LBFGS(self.parameters())

    rows = toy.sequences(16)
    for module, options, says in (
        (toy.Module(), {"accumulate_grad_batches": 1}, "set accumulate_grad_batches=2 or more"),
        (Manual(), {"accumulate_grad_batches": 1, "gradient_clip_val": None}, "make a NoiseMeter"),
        (Again(), {}, "LBFGS"),
    ):
        trainer = toy.lightning(tmp_path, [NoiseScaleCallback()], **options)
        with pytest.raises(InputError, match=says):
            trainer.fit(module, toy.loader(rows))
    with pytest.raises(InputError, match=r"strategy='ddp'"):
        NoiseScaleCallback().on_train_start(SimpleNamespace(strategy=object()), None)
    with pytest.raises(InputError, match="give the callback"):
        NoiseScaleCallback().read()


# Several processes, and a loop of one's own -----------------------------------------------------


def test_two_processes_measure_what_is_right(tmp_path: Path) -> None:
    import integrations_toy as toy

    layers = {"version": 2, "transformer_layer_cls_to_wrap": ["LlamaDecoderLayer"]}
    jobs = [
        ("hugging", str(tmp_path / "ddp"), {}),
        ("lightning", str(tmp_path / "lightning"), {}),
        ("hugging", str(tmp_path / "fsdp"), {"fsdp": True, "fsdp_config": layers}),
    ]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--local-addr"]
    command += ["127.0.0.1", "--nproc-per-node", "2", toy.__file__, json.dumps(jobs)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    ddp, lightning, fsdp = json.loads(done.stdout.strip().splitlines()[-1])
    for found in (ddp, lightning, fsdp):
        assert numbers(found["logged"]) == near(found["right"])
    assert (ddp["sharded"], fsdp["sharded"]) == (False, True)


def test_a_loop_with_accelerate_measures_by_three_calls(tmp_path: Path) -> None:
    import integrations_toy as toy
    import torch
    from accelerate import Accelerator

    from isoloss.integrations.batches import count_batch
    from isoloss.lab.noise_meter import NoiseMeter

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=4)
    model = toy.make()
    model, optimizer, batches = accelerator.prepare(
        model, torch.optim.SGD(model.parameters(), lr=0.1), toy.loader(toy.sequences(80))
    )
    recorded, meter = toy.Recorded(), NoiseMeter(model, weights="equal")
    for batch in batches:
        with accelerator.accumulate(model):
            recorded.add(model, batch)
            meter.part(*count_batch(batch))
            accelerator.backward(model(**batch).loss)
            if accelerator.sync_gradients:
                scaler = accelerator.scaler
                meter.step(scale=scaler.get_scale() if scaler else 1.0)
                accelerator.clip_grad_norm_(model.parameters(), 0.05)
            optimizer.step()
            optimizer.zero_grad()
    expected = toy.by_hand(recorded.updates([4] * 10), equal=True)
    assert toy.as_logged(meter.read().scale) == near(toy.as_logged(expected))
