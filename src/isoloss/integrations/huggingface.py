"""The noise meter in a Hugging Face `transformers.Trainer`.

    trainer = Trainer(model, args, train_dataset=data)
    trainer.add_callback(NoiseScaleCallback(trainer))
    trainer.train()

The Trainer clips before it calls any callback, so that three of its methods are stood before while
it trains: `training_step` tells of every part, `accelerator.clip_grad_norm_` has the gradients as
they came, before it has an AMP scaler unscale them, and `log` is given the numbers, in the row that
has the loss. They are as they were at the end of training. Checked against transformers 5.23 and
accelerate 1.15. Transformers 5.0 divides the loss by the first labels of rows too, which are no
targets: |G|^2 and tr(Sigma) are then of that smaller loss, and their ratio is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from transformers import Trainer, TrainerCallback
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.training_args import ParallelMode

from isoloss.errors import InputError
from isoloss.integrations.batches import Count, count_batch
from isoloss.integrations.gauge import Gauge, Setting
from isoloss.lab.noise_meter import Reading
from isoloss.lab.noise_meter.meter import Weights
from isoloss.lab.noise_meter.parameters import Groups

_REMEDY = (
    "set gradient_accumulation_steps=2 or more in place of examples=, have checkpoints with "
    "use_reentrant=False, give count= for batches of another form, or take NoiseScaleCallback out"
)


class NoiseScaleCallback(TrainerCallback):  # type: ignore[misc]
    """Measures the noise scale while a Trainer trains, and logs it beside the loss."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        examples: int = 0,
        count: Count | None = None,
        groups: Groups | None = None,
        window: int | None = 1_000,
        weights: Weights | None = None,
        level: float = 0.9,
    ) -> None:
        """Say what is measured; `trainer.add_callback` then puts it in.

        trainer: that it is for. count: from a batch to its (tokens, sequences); without it they are
        told from `labels`, shifted where its loss shifts them, `attention_mask` or `input_ids`.
        weights: how the parts weigh in the gradient; without it as the Trainer makes them, by their
        tokens where it divides the loss by those of the whole batch, and alike where it does not.
        The rest as in NoiseMeter. A run that is resumed begins with an empty window.
        Raises InputError as training begins where the gradients cannot be seen (DeepSpeed, FSDP1,
        tensor, context or sequence parallelism, nn.DataParallel), or there is but one part in one
        process and no examples.
        """
        self._trainer, self._weights = trainer, weights
        self._count = count or partial(count_batch, shifted=_shifts_labels(trainer))
        self._options: dict[str, Any] = {
            "examples": examples,
            "groups": groups,
            "window": window,
            "level": level,
        }
        self._gauge: Gauge | None = None
        self._undo: list[Callable[[], None]] = []

    def read(self) -> Reading:
        """The reading over the window; every process calls this. After training, the last one."""
        if self._gauge is None:
            raise InputError("nothing was measured yet: add the callback to its trainer, and train")
        return self._gauge.read()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()  # of a training that was cut short
        self._gauge = None
        _refuse(self._trainer, self._options["examples"])
        trainer = self._trainer
        self._stand_before(trainer, "training_step", self._step)
        self._stand_before(trainer.accelerator, "clip_grad_norm_", self._clip)
        self._stand_before(trainer, "log", self._log)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._end()  # without clipping, early transformers 5 call nothing before

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Take everything off the trainer and its model; the end of training does it too."""
        while self._undo:
            self._undo.pop()()
        if self._gauge is not None:
            self._gauge.close()

    def _stand_before(self, owner: Any, name: str, mine: Callable[..., Any]) -> None:
        before, was_its_own = getattr(owner, name), name in vars(owner)
        setattr(owner, name, partial(mine, before))
        self._undo.append(
            partial(setattr, owner, name, before) if was_its_own else partial(delattr, owner, name)
        )

    def _step(
        self,
        training_step: Callable[..., Any],
        model: Any,
        inputs: Any,
        num_items_in_batch: Any = None,
        **kwargs: Any,
    ) -> Any:
        if self._gauge is None:
            self._gauge = Gauge(model, self._setting(num_items_in_batch is not None))
        self._gauge.begin(inputs)
        loss = training_step(model, inputs, num_items_in_batch, **kwargs)
        self._gauge.went_back()
        return loss

    def _clip(self, clip_grad_norm_: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._end()
        return clip_grad_norm_(*args, **kwargs)

    def _end(self) -> None:
        if self._gauge is not None and self._gauge.begun:
            scaler = self._trainer.accelerator.scaler
            self._gauge.end(scale=1.0 if scaler is None else scaler.get_scale())

    def _log(self, log: Callable[..., None], logs: dict[str, float], *args: Any, **kw: Any) -> None:
        if self._gauge is not None and "loss" in logs:
            logs = {**logs, **self._gauge.numbers()}
        log(logs, *args, **kw)

    def _setting(self, items_counted: bool) -> Setting:
        trainer = self._trainer
        weights = self._weights or _weights(trainer, items_counted)
        return Setting(
            options={**self._options, "weights": weights},
            count=self._count,
            alone=trainer.accelerator.num_processes == 1,
            remedy=_REMEDY,
        )


def _shifts_labels(trainer: Any) -> bool:
    """Whether the model's loss compares each position with the label of the next."""
    model = trainer.model
    model = getattr(model, "get_base_model", lambda: model)()  # of an adapter
    if getattr(getattr(model, "config", None), "is_encoder_decoder", False):
        return False
    # The Trainer's own answer is no for GPT2LMHeadModel and others whose loss has no name.
    own = getattr(trainer, "_loss_shifts_labels", False)
    return own or type(model).__name__ in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()


def _weights(trainer: Any, items_counted: bool) -> Weights:
    """How the Trainer weighs the parts: as `training_step` and `compute_loss` scale the loss."""
    divided = getattr(trainer, "loss_is_scaled_for_ga", None)
    if divided is None:
        divided = trainer.model_accepts_loss_kwargs or trainer.compute_loss_func is not None
    if not (divided and items_counted):
        return "equal"
    return "all_tokens" if trainer.args.average_tokens_across_devices else "tokens"


def _refuse(trainer: Any, examples: int) -> None:
    """Raise InputError for what would give wrong numbers, or none."""
    accelerator, args = trainer.accelerator, trainer.args
    sizes = {"tensor": "get_tp_size", "context": "get_cp_size", "sequence": "get_sp_size"}
    cut = [kind for kind, size in sizes.items() if getattr(trainer, size, lambda: 1)() > 1]
    fsdp = getattr(accelerator.state, "fsdp_plugin", None)
    alone = accelerator.num_processes == 1
    if trainer.is_deepspeed_enabled:
        what, do = "DeepSpeed keeps gradients where no meter sees them", "train with DDP or FSDP2"
    elif fsdp is not None and getattr(fsdp, "fsdp_version", 1) != 2:
        what, do = "FSDP1 makes one parameter of many", "set fsdp_config={'version': 2}"
    elif cut:
        what, do = f"{cut[0]} parallelism cuts sequences or parameters", "train with DDP or FSDP2"
    elif (kind := accelerator.distributed_type.name) in ("MEGATRON_LM", "XLA"):
        what, do = f"{kind} averages gradients in its own way", "train with DDP or FSDP2"
    elif args.parallel_mode == ParallelMode.NOT_DISTRIBUTED:
        what, do = "nn.DataParallel has many copies in one process", "start it with torchrun"
    elif alone and args.gradient_accumulation_steps == 1 and not examples:
        what = "one part in one process has no smaller batch beside it"
        do = "set gradient_accumulation_steps=2 or more, use several processes, or give examples=8"
    else:
        return
    raise InputError(f"the noise scale cannot be measured here: {what}; {do}")
