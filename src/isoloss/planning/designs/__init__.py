"""Sweeps for a budget: the runs to train so that a law can be fitted to them."""
