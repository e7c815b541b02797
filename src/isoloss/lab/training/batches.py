"""Which text every update sees: a pure function of seed and step."""

from __future__ import annotations

import numpy as np
import torch

from isoloss.errors import InputError
from isoloss.lab.parallel.rows import rows_each
from isoloss.lab.parallel.team import ALONE, Team
from isoloss.lab.tokens import TokenSet, training_part
from isoloss.lab.tokens.arrays import take_windows
from isoloss.runs import RunSpec


class Batches:
    """Batches as a pure function of seed and step, so that a resumed run sees what it would have.

    The training text is cut into contexts; each epoch visits them once in an order drawn from
    (seed, epoch), but for the few at the order's end that do not fill a batch. A context's last
    target is the next context's first token, so every token is predicted. Where the spec asks for
    a part of the text, these are its contexts. Each process of a team gets its own rows of a batch.
    """

    def __init__(self, tokens: TokenSet, spec: RunSpec, team: Team = ALONE) -> None:
        each = rows_each(spec, team.size)
        self.mine = slice(team.rank * each, (team.rank + 1) * each)
        self.ids = training_part(spec, tokens).train
        self.n_ctx, self.seed = spec.shape.n_ctx, spec.order_seed
        self.rows = spec.batch // spec.shape.n_ctx
        self.windows = (len(self.ids) - 1) // self.n_ctx
        if self.windows < self.rows:
            raise InputError(
                f"the training text of {tokens.name!r} has {len(self.ids):,} tokens, less than one "
                f"batch of {spec.batch:,}: use a larger corpus or a smaller batch"
            )
        self.per_epoch = self.windows // self.rows
        self.epoch, self.order = -1, np.empty(0, np.int64)

    def __call__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs and targets of update `step`, each (rows of this process, n_ctx)."""
        epoch, index = divmod(step, self.per_epoch)
        if epoch != self.epoch:
            rng = np.random.default_rng([self.seed, epoch])
            self.epoch, self.order = epoch, rng.permutation(self.windows)
        rows = self.order[index * self.rows : (index + 1) * self.rows][self.mine]
        found = take_windows(self.ids, rows * self.n_ctx, self.n_ctx + 1)
        ids = torch.from_numpy(found.astype(np.int64))
        return ids[:, :-1], ids[:, 1:]
