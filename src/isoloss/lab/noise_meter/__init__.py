"""The gradient noise scale measured in any torch trainer, from gradients that are there anyway."""

from __future__ import annotations

from isoloss.lab.noise_meter.meter import NoiseMeter, Reading
from isoloss.lab.noise_meter.parameters import NoiseWarning

__all__ = ["NoiseMeter", "NoiseWarning", "Reading"]
