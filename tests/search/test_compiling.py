"""Compiling the kernels on a machine that has none of them yet, in a process and a cache of their own."""

import os
import subprocess
import sys

import pytest

from muzen.machine import usable_cores
from muzen.search import xla

SEARCH = """
import shutil, sys
from muzen.search import xla
{before}
assert xla.unavailable() == ""
xla._register_search("gumbel")
print({{name: call.cache_hits for name, call in xla._kept.items()}})
"""
COMPILED_HERE = {"probe": 0, "gumbel_step": 0, "start": 0, "gumbel_finish": 0}
HALF_ELSEWHERE = {"probe": 0, "gumbel_step": 0, "start": 1, "gumbel_finish": 1}
ALL_LOADED = dict.fromkeys(COMPILED_HERE, 1)


def loaded(cache, before=""):
    """Calls of a search that a new process found in the cache: 1, or had to compile: 0."""
    command = [sys.executable, "-c", SEARCH.format(before=before)]
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(usable_cores() < 2, reason="one core compiles alone")
def test_two_processes_share_the_compiling_and_the_next_one_compiles_nothing(tmp_path):
    assert loaded(tmp_path, before="xla._MOST_SECONDS = 600") == HALF_ELSEWHERE  # however busy the machine is
    assert loaded(tmp_path, before="xla._compiling_elsewhere = None") == ALL_LOADED


@pytest.mark.slow
def test_what_the_other_process_did_not_get_done_is_compiled_here(tmp_path):
    assert loaded(tmp_path, before="sys.executable = shutil.which('false') or 'none'") == COMPILED_HERE


@pytest.mark.parametrize("executable", ["python-of-nowhere", "/usr/bin/another-program", "", None])
def test_a_program_that_cannot_start_another_python_compiles_alone(monkeypatch, executable):
    monkeypatch.setattr(sys, "executable", executable)
    entered = False
    with xla._compiling_elsewhere(["start"]):
        entered = True
    assert entered


def test_a_process_that_does_not_end_is_not_waited_for_without_end(monkeypatch):
    monkeypatch.setattr(xla, "_MOST_SECONDS", 0.01)
    began = []
    real = subprocess.Popen

    def endless(command, **options):
        began.append(real([command[0], "-c", "import time; time.sleep(600)"], **options))
        return began[0]

    monkeypatch.setattr(xla.subprocess, "Popen", endless)
    monkeypatch.setattr(xla, "usable_cores", lambda: 2)
    with xla._compiling_elsewhere(["start"]):
        pass
    assert began[0].returncode not in (None, 0)
