"""How the model of a plan is to be built and trained: shape, batch, rate, memory."""
