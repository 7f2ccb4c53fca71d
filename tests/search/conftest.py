"""Lets the tests beside this file import their models, and keeps compiled programs in memory."""

import sys
from pathlib import Path

import jax
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def compile_afresh():
    jax.config.update("jax_enable_compilation_cache", False)
