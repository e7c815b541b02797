"""The trainer, and the one that breaks, where even a short run may have more threads."""

from __future__ import annotations

import failing_trainers

from isoloss.lab import train
from isoloss.lab.sweep import threads

threads.LEAST_FLOPS = 0.0

struck = failing_trainers.struck
plain = train.train
