"""The whole loop on real text, in minutes: train small, fit, forecast, train large, check."""

from isoloss.experiments.demo.regime import Design
from isoloss.experiments.demo.story import DemoResult, run_demo
from isoloss.experiments.demo.summary import summary

__all__ = ["Design", "DemoResult", "run_demo", "summary"]
