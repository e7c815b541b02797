"""Language models to train: the transformer, plain or recurrent, and the LSTM."""

from isoloss.counting import Shape
from isoloss.lab.models.language_model import LanguageModel
from isoloss.lab.models.lstm import LSTM
from isoloss.lab.models.transformer import Transformer

__all__ = ["LSTM", "LanguageModel", "Transformer", "make_model"]


def make_model(shape: Shape, *, dropout: float = 0.0) -> LanguageModel:
    """Build the model of a shape, initialised from torch's generator.

    dropout: the part of the numbers dropped in training, wherever the model has dropout.
    Raises InputError for a shape that can be counted and not trained.
    """
    model = LSTM if shape.kind == "lstm" else Transformer
    return model(shape, dropout)
