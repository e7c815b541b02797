"""The torch wing: text to tokens to trained models to run records.

Importing this package loads nothing heavy. `corpus` and `tokens` need numpy only; `models`, `train`
and `evaluate` need torch, which is loaded when one of them is imported, not before.
"""
