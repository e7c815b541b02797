"""A stack of LSTM layers between an embedding and a head, as Kaplan et al. 2020 set beside theirs.

Each context starts from an empty state. Dropout is on what passes between layers, never on what
passes between tokens: on the embedding, between the layers and before the head.
Source: Hochreiter & Schmidhuber 1997; Zaremba et al. 2014 (where to drop); Kaplan et al. 2020,
figure 7. Left out: projections, norms and residual connections between layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from isoloss.counting import Shape
from isoloss.errors import InputError
from isoloss.lab.models.language_model import LanguageModel, drop

FORGET_BIAS = 1.0


class LSTM(LanguageModel):
    """An LSTM of the given shape; its parameters add up to the count of `Shape`.

    shape: Shape of kind `lstm`. dropout: the part of the numbers dropped in training.
    Raises InputError for a shape of another kind.
    """

    def __init__(self, shape: Shape, dropout: float = 0.0) -> None:
        if shape.kind != "lstm":
            raise InputError(f"shape.kind is {shape.kind!r}: this is an LSTM; use make_model")
        super().__init__(shape, dropout)
        self.token_embedding = nn.Embedding(shape.vocab, shape.d_model)
        self.recurrent = nn.LSTM(
            shape.d_model,
            shape.d_model,
            shape.n_layer,
            bias=shape.bias,
            batch_first=True,
            dropout=dropout if shape.n_layer > 1 else 0.0,  # nn.LSTM's is between layers alone
        )
        self.head = nn.Linear(shape.d_model, shape.vocab, bias=False)
        if shape.tied:
            self.head.weight = self.token_embedding.weight
        self._initialise()

    def hidden(self, ids: Tensor) -> Tensor:
        """What the head sees at each position: ids (b, t) integers -> (b, t, d_model)."""
        x = drop(self.token_embedding(ids), self.dropout, self.training)
        kind = x.device.type
        if torch.is_autocast_enabled(kind):
            # Autocast narrows the weights and not the state, which oneDNN's LSTM refuses; cuDNN's
            # it runs in float16, whatever it is asked for.
            with torch.autocast(kind, enabled=False):
                x, _ = self.recurrent(x.float())
        else:
            x, _ = self.recurrent(x)
        return drop(x, self.dropout, self.training)

    @torch.no_grad()
    def _initialise(self) -> None:
        """Matrices from U(-1/sqrt(d), 1/sqrt(d)), torch's own; biases 0, the forget gate's 1.

        Embedding and head start at a standard deviation of min(1, 8 / sqrt(d)). With 1 / sqrt(d)
        gates hardly see the text and a state, at first about 0.2, hardly moves the logits: 256,000
        tokens of source code end 0.3 to 0.8 nats higher (bytes, widths 64 to 192, one layer or two,
        tied or not, each at the best of two or three rates).
        Source: Gers et al. 2000 and Jozefowicz et al. 2015 for the forget gate, open at first.
        """
        d = self.shape.d_model
        for name, weight in self.recurrent.named_parameters():
            if name.startswith("weight"):
                nn.init.uniform_(weight, -1 / math.sqrt(d), 1 / math.sqrt(d))
            else:
                nn.init.zeros_(weight)
            if name.startswith("bias_ih"):
                weight[d : 2 * d] = FORGET_BIAS  # gates are input, forget, cell, output
        std = min(1.0, 8 / math.sqrt(d))
        nn.init.normal_(self.token_embedding.weight, 0.0, std)
        nn.init.normal_(self.head.weight, 0.0, std)
