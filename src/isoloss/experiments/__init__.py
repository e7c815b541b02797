"""Experiments: where the lab that makes runs and the analysis that reads them meet."""
