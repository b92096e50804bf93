"""Packages of other people for tests: the one in tests/outsider, installed as pip does it, and small ones written by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.examples.homes import ROOT

OUTSIDER = ROOT / "tests" / "outsider"
NAME, VERSION = "outsider-kinds", "1.0"

#: A strategy whose indicator, label and network are all of that package.
STRATEGY = """
name: {name}
training_data:
  symbols: {{mode: single, symbol: AAPL}}
  timeframes: {{mode: single, timeframe: 1d}}
  start_date: 2003-01-01
  end_date: 2010-12-31
indicators:
  glide_10: {{type: glidingaverage, period: 10}}
fuzzy_sets:
  place: {{indicator: glide_10.distance, below: [-5, -2, 0], near: [-2, 0, 2], above: [0, 2, 5]}}
nn_inputs:
  - {{fuzzy_set: place}}
  - {{raw_indicator: glide_10.distance, timeframes: [1d]}}
model: {{type: gated, architecture: {{width: 16, dropout: 0.2}}}}
training:
  labels: {{source: breakout, horizon: 5}}
  epochs: 24
  batch_size: 16
  early_stopping: {{enabled: false}}
"""


def install_outsider(folder: Path) -> Path:
    """tests/outsider, from a copy, into a folder of its own under `folder`, which a process finds by PYTHONPATH."""
    source, target = folder / "source", folder / "site"
    shutil.copytree(OUTSIDER, source, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run([*command, "--target", str(target), str(source)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return target


def other_version(site: Path, folder: Path, version: str) -> Path:
    """A copy of what was installed that calls itself another version."""
    shutil.copytree(site, folder)
    (metadata,) = folder.glob("*.dist-info/METADATA")
    metadata.write_text(metadata.read_text().replace(f"Version: {VERSION}", f"Version: {version}"))
    return folder


def write_package(folder: Path, package: str, entry_points: str, modules: Mapping[str, str] = {}) -> None:
    """An installed package of a few lines: its metadata, and modules by name."""
    information = folder / f"{package.replace('-', '_')}-0.3.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.3\n")
    (information / "entry_points.txt").write_text(entry_points)
    for name, text in modules.items():
        (folder / f"{name}.py").write_text(text)


def with_packages(*folders: Path) -> dict[str, str]:
    """Environment variables with which a process finds these packages."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT)))}
