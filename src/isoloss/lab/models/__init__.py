"""Language models to train: today the decoder-only transformer."""

from isoloss.lab.models.transformer import Transformer

__all__ = ["Transformer"]
