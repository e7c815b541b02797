"""Callbacks that put the noise meter into the trainers of other libraries, a module for each."""
