"""The accelerators at the command line: what is printed is what the table in the code says."""

from __future__ import annotations

import json
import re

import pytest
from conftest import Command

from isoloss.counting import HARDWARE


def test_every_accelerator_is_listed_with_its_peaks_memory_and_source(isoloss: Command) -> None:
    done = isoloss("laws", "--hardware")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    header = next(line for line in lines if "bf16" in line).split()
    for one in HARDWARE:
        peaks, source = (line for line in lines if re.match(rf"  {re.escape(one.name)}  ", line))
        cells = peaks.removeprefix(f"  {one.name}").replace(",", "").split()
        row = dict(zip(header, cells, strict=True))
        shown = {name: float(row[name]) for name in header[:-2] if row[name] != "-"}
        assert shown == pytest.approx({name: peak / 1e12 for name, peak in one.peak.items()})
        assert (float(row["GB"]), float(row["GB/s"])) == (one.memory / 1e9, one.bandwidth / 1e9)
        assert one.source in source


def test_the_same_as_json_by_field_name(isoloss: Command) -> None:
    listed = json.loads(isoloss("laws", "--hardware", "--json").stdout)
    assert [one["name"] for one in listed] == [one.name for one in HARDWARE]
    (h100,) = (one for one in listed if one["name"] == "H100")
    assert set(h100) == {"name", "peak", "memory", "bandwidth", "source"}
    assert h100["peak"]["bf16"] == 989.5e12


def test_no_law_goes_with_it(isoloss: Command) -> None:
    done = isoloss("laws", "kaplan", "--hardware")
    assert done.returncode == 1
    assert done.stdout == ""
    assert "leave out 'kaplan'" in done.stderr


def test_a_plan_takes_each_of_them(isoloss: Command) -> None:
    for one in json.loads(isoloss("laws", "--hardware", "--json").stdout):
        precision, peak = next(iter(one["peak"].items()))
        words = ("--gpu-hours", "1e4", "--hardware", one["name"], "--precision", precision)
        plans = json.loads(isoloss("plan", *words, "--utilisation", "0.5", "--json").stdout)
        assert plans["plans"][0]["flops"] == pytest.approx(1e4 * 3600 * peak * 0.5)
