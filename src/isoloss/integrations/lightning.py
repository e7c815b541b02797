"""The noise meter in a Lightning `Trainer`.

    trainer = Trainer(callbacks=[NoiseScaleCallback()], accumulate_grad_batches=4)

`on_before_optimizer_step` comes before clipping and after an AMP scaler has unscaled. Lightning
divides each part's loss by their number, so that parts weigh alike. Checked against Lightning 2.6.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, SingleDeviceStrategy
from torch.optim import LBFGS

from isoloss.errors import InputError
from isoloss.integrations.batches import Count, count_batch
from isoloss.integrations.gauge import Gauge, Setting
from isoloss.lab.noise_meter import Reading
from isoloss.lab.noise_meter.meter import Weights
from isoloss.lab.noise_meter.parameters import Groups

_REMEDY = (
    "set accumulate_grad_batches=2 or more in place of examples=, have checkpoints with "
    "use_reentrant=False, give count= for batches of another form, or take NoiseScaleCallback out"
)


class NoiseScaleCallback(Callback):  # type: ignore[misc]
    """Measures the noise scale while a Trainer fits, and gives it to the trainer's loggers."""

    def __init__(
        self,
        *,
        examples: int = 0,
        count: Count = count_batch,
        groups: Groups | None = None,
        window: int | None = 1_000,
        weights: Weights = "equal",
        level: float = 0.9,
    ) -> None:
        """Say what is measured.

        count: from a batch, as `training_step` gets it, to its (tokens, sequences); without it they
        are told from ids and labels (`batches.count_batch`). The rest as in NoiseMeter. A run that
        is resumed begins with an empty window.
        Raises InputError as training begins where the gradients cannot be seen (other strategies
        than one device, DDP and ModelParallel), the module steps its optimizers itself, or there is
        but one part in one process and no examples.
        """
        self._count = count
        self._options: dict[str, Any] = {
            "examples": examples,
            "groups": groups,
            "window": window,
            "weights": weights,
            "level": level,
        }
        self._gauge: Gauge | None = None
        self._fresh = False  # whether a step was taken since the last look at the loggers

    def read(self) -> Reading:
        """The reading over the window; every process calls this. After training, the last one."""
        if self._gauge is None:
            raise InputError("nothing was measured yet: give the callback to a Trainer, and fit")
        return self._gauge.read()

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.close()
        _refuse(trainer, pl_module, bool(self._options["examples"]))
        setting = Setting(self._options, self._count, trainer.world_size == 1, _REMEDY)
        self._gauge = Gauge(trainer.strategy.model, setting)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._gauge is not None:
            self._gauge.begin(batch)

    def on_before_backward(self, trainer: Any, pl_module: Any, loss: Any) -> None:
        if self._gauge is not None:
            self._gauge.went_back()

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        if self._gauge is None:
            return
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        # Fused optimizers unscale in their own step.
        unscaled = not getattr(optimizer, "_step_supports_amp_scaling", False)
        scale = 1.0 if scaler is None else scaler.get_scale()
        self._gauge.end(scale=scale, unscaled=unscaled)
        self._fresh = True

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self._gauge is None or not self._fresh:
            return
        self._fresh = False
        # As Lightning's own DeviceStatsMonitor does. What is logged by the module would stay until
        # the epoch ends, and a bound that is gone would be logged on.
        if trainer._logger_connector.should_update_logs:
            numbers = self._gauge.numbers()
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.fit_loop.epoch_loop._batches_that_stepped)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.close()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self.close()

    def close(self) -> None:
        """Take the hooks off the model; the end of training does it too."""
        if self._gauge is not None:
            self._gauge.close()


def _refuse(trainer: Any, module: Any, examples: bool) -> None:
    """Raise InputError for what would give wrong numbers, or none."""
    strategy = trainer.strategy
    if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy | ModelParallelStrategy):
        what = f"{type(strategy).__name__} keeps gradients where the meter does not see them"
        do = "use strategy='ddp', or fully_shard in a ModelParallelStrategy"
    elif not module.automatic_optimization:
        what = "the module steps its optimizers itself"
        do = "make a NoiseMeter in it, and call part, step and read (docs/methods/noise.md)"
    elif any(isinstance(one, LBFGS) for one in trainer.optimizers):
        what, do = "LBFGS goes over a batch several times", "use another optimizer"
    elif trainer.world_size == 1 and trainer.accumulate_grad_batches == 1 and not examples:
        what = "one part in one process has no smaller batch beside it"
        do = "set accumulate_grad_batches=2 or more, use several processes, or give examples=8"
    else:
        return
    raise InputError(f"the noise scale cannot be measured here: {what}; {do}")
