"""isoloss: how large a language model to train, on how much text, for what loss."""
