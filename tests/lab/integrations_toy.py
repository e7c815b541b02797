"""A tiny language model in the trainers of other libraries, and its noise scale by hand.

Imported by `test_integrations`, and run by torchrun as two processes. The argument is then JSON:
the `trainer`, a folder, and its options; the first process prints one JSON line, what was logged
and what is right.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from accelerate.state import DistributedType, PartialState
from accelerate.utils import gather_object
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils.data import DataLoader
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

from isoloss.noise import NoiseScale, noise_scale

VOCAB, LENGTH = 29, 10
Rows = list[dict[str, Tensor]]
Update = tuple[dict[str, Tensor], list[dict[str, Tensor]]]  # the weights, and the parts


def make(seed: int = 0) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=12,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        pad_token_id=0,
        initializer_range=0.2,
        tie_word_embeddings=True,
        attn_implementation="eager",
    )
    return LlamaForCausalLM(config)


def sequences(count: int, *, shortest: int = LENGTH, seed: int = 0) -> Rows:
    """Rows of ids, few of them common, padded to LENGTH; what is padding is no target."""
    generator = torch.Generator().manual_seed(seed)
    odds = 1 / torch.arange(1, VOCAB)
    found = []
    for _ in range(count):
        ids = 1 + torch.multinomial(odds, LENGTH, True, generator=generator)
        mask = torch.ones_like(ids)
        mask[int(torch.randint(shortest, LENGTH + 1, (), generator=generator)) :] = 0
        labels = ids.masked_fill(mask == 0, -100)
        found.append({"input_ids": ids * mask, "attention_mask": mask, "labels": labels})
    return found


@cache
def by_itself() -> LlamaForCausalLM:
    """A model for gradients by hand, whose weights are loaded each time."""
    return make()


def gradient(weights: dict[str, Tensor], batch: dict[str, Tensor], only: Sequence[str]) -> Tensor:
    """(parameters,) the gradient of the mean loss of a batch."""
    model = by_itself()
    model.load_state_dict(weights)
    model.zero_grad()
    model(**batch).loss.backward()
    chosen = [p.grad for name, p in model.named_parameters() if not only or name in only]
    return torch.cat([g.flatten() for g in chosen if g is not None]).double()


def by_hand(
    updates: Sequence[Update], *, equal: bool = False, examples: bool = False, only: Any = ()
) -> NoiseScale:
    """The noise scale of what was trained on, from gradients of the parts or of the examples."""
    norms, sizes = [], []
    for weights, parts in updates:
        tokens = torch.tensor([float((one["labels"][:, 1:] != -100).sum()) for one in parts])
        tokens = tokens.double()
        w = torch.ones_like(tokens) / len(tokens) if equal else tokens / tokens.sum()
        g = torch.stack([gradient(weights, part, only) for part in parts])
        big = w @ g
        small = w @ g.square().sum(dim=1)
        rate = (w / tokens).sum()
        if examples:
            (whole,) = parts
            alone = [
                {name: x[k : k + 1] for name, x in whole.items()}
                for k in range(len(whole["labels"]))
            ]
            each = torch.stack([gradient(weights, one, only) for one in alone])
            small, rate = each.square().sum(dim=1).mean(), len(alone) / tokens.sum()
        norms.append((float(small), float(big @ big)))
        sizes.append((float(1 / rate), float(1 / (w**2 / tokens).sum())))
    return noise_scale(
        *zip(*norms, strict=True),
        **dict(zip(("small", "big"), zip(*sizes, strict=True), strict=True)),
    )


def taken(updates: Sequence[Update], model: nn.Module) -> list[Update]:
    """The updates that moved the weights: an AMP scaler leaves out those that overflow."""
    after = [*(weights for weights, _ in updates[1:]), model.state_dict()]
    return [
        update
        for update, then in zip(updates, after, strict=True)
        if any(not torch.equal(x, then[name]) for name, x in update[0].items())
    ]


def as_logged(scale: NoiseScale) -> dict[str, float]:
    found = {
        "gns/b_simple": scale.b_simple,
        "gns/b_simple_low": scale.low,
        "gns/b_simple_high": scale.high,
        "gns/g2": scale.g2,
        "gns/tr_sigma": scale.tr_sigma,
    }
    return {key: value for key, value in found.items() if value != float("inf")}


class Recorded:
    """What a trainer was given, in updates of so many parts."""

    def __init__(self) -> None:
        self.parts: list[tuple[dict[str, Tensor], dict[str, Tensor]]] = []

    def add(self, model: nn.Module, batch: dict[str, Tensor]) -> None:
        weights = {
            name: x.full_tensor() if isinstance(x, DTensor) else x.clone()
            for name, x in model.state_dict().items()
        }
        self.parts.append((weights, {name: x.clone() for name, x in batch.items()}))

    def updates(self, sizes: Sequence[int]) -> list[Update]:
        found, left = [], list(self.parts)
        for size in sizes:
            own, left = left[:size], left[size:]
            found.append((own[0][0], [batch for _, batch in own]))
        assert not left
        return found


class RecordingTrainer(Trainer):
    """Keeps what each step was given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.recorded = Recorded()

    def create_accelerator_and_postprocess(self) -> None:
        if self.args.fsdp_plugin_args is not None:  # accelerate has FSDP for GPUs alone
            PartialState()._shared_state["distributed_type"] = DistributedType.MULTI_GPU
        super().create_accelerator_and_postprocess()

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.recorded.add(self.model, inputs)
        return super().training_step(model, inputs, *args, **kwargs)


def hugging(folder: Any, rows: Rows, model: nn.Module | None = None, **options: Any) -> Any:
    """A Trainer: parts of 2 rows, 4 to an update, clipped hard."""
    settings: dict[str, Any] = {
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 4,
        "max_grad_norm": 0.05,
        "num_train_epochs": 3,
        "learning_rate": 0.02,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **options,
    }
    args = TrainingArguments(output_dir=str(folder), **settings)
    held_out = sequences(6, seed=1) if "eval_strategy" in options else None
    return RecordingTrainer(model or make(), args, train_dataset=rows, eval_dataset=held_out)


class Module(LightningModule):
    """The same model as a LightningModule that keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make()
        self.recorded, self.losses = Recorded(), []

    def training_step(self, batch: Any, index: int) -> Tensor:
        self.recorded.add(self.model, batch)
        loss = self.model(**batch).loss
        self.losses.append(float(loss.detach()))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.AdamW(self.parameters(), lr=0.02)


def loader(rows: Rows, batch: int = 2, *, shuffle: bool = True) -> Any:
    drawn = torch.Generator().manual_seed(0)
    return DataLoader(rows, batch_size=batch, shuffle=shuffle, generator=drawn)


def lightning(folder: Any, callbacks: Sequence[Any], **options: Any) -> Any:
    """A Trainer: 4 parts to an update, clipped hard."""
    from lightning.pytorch import Trainer as LightningTrainer
    from lightning.pytorch.loggers import CSVLogger

    settings: dict[str, Any] = {
        "accelerator": "cpu",
        "devices": 1,
        "accumulate_grad_batches": 4,
        "gradient_clip_val": 0.05,
        "max_epochs": 3,
        "log_every_n_steps": 1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": CSVLogger(str(folder)),
        **options,
    }
    return LightningTrainer(callbacks=list(callbacks), **settings)


def joined(recorded: Recorded, sizes: Sequence[int]) -> list[Update]:
    """The updates of all processes, each of the parts of all."""
    of_all = gather_object([recorded.updates(sizes)])
    return [
        (own[0][0], [part for _, parts in own for part in parts])
        for own in zip(*of_all, strict=True)
    ]


def team_of_hugging(folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """Two processes of a Hugging Face Trainer: 2 parts each of unlike many tokens."""
    from accelerate.state import AcceleratorState, GradientState

    from isoloss.integrations.huggingface import NoiseScaleCallback

    for state in (AcceleratorState, GradientState, PartialState):
        state._shared_state.clear()  # of the training before
    settings = {"gradient_accumulation_steps": 2, "ddp_backend": "gloo", **options}
    trainer = hugging(folder, sequences(44, shortest=3), **settings)
    trainer.add_callback(NoiseScaleCallback(trainer))
    trainer.train()
    logged = [row for row in trainer.state.log_history if "gns/g2" in row]
    right = by_hand(joined(trainer.recorded, [2, 2, 2, 2, 2, 1] * 3))
    sharded = any(isinstance(p, DTensor) for p in trainer.model.parameters())
    return {"logged": logged[-1], "right": as_logged(right), "sharded": sharded}


def team_of_lightning(folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """Two processes of a Lightning Trainer, a part each."""
    from isoloss.integrations.lightning import NoiseScaleCallback

    meter, module = NoiseScaleCallback(), Module()
    trainer = lightning(
        folder, [meter], devices=2, strategy="ddp", accumulate_grad_batches=1, **options
    )
    trainer.fit(module, loader(sequences(24)))
    logged = as_logged(meter.read().scale)
    return {"logged": logged, "right": as_logged(by_hand(joined(module.recorded, [1] * 18)))}


TEAMS = {"hugging": team_of_hugging, "lightning": team_of_lightning}

if __name__ == "__main__":
    torch.set_num_threads(1)
    answers = [TEAMS[name](folder, options) for name, folder, options in json.loads(sys.argv[1])]
    if torch.distributed.get_rank() == 0:
        print(json.dumps(answers), flush=True)
    torch.distributed.destroy_process_group()
