"""The measurements in benchmarks/, for tests of what they compute."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest


def benchmark(name: str):
    """The module benchmarks/NAME.py, which may import others beside it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        return importlib.import_module(name)
