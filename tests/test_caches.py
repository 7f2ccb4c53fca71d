"""Where compiled programs are kept, and when they are compiled again."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from muzen import caches
from muzen.caches import compile_cached

# Two rewards of 1, the second discounted by 1/2: printed as the value target of the first row.
SAMPLE = """
import numpy as np
from muzen.config import ReplayConfig
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec

replay, no = Replay(EnvSpec("test", (1,), "float32", 2), ReplayConfig(max_steps=10), 1, 0), np.zeros(1, bool)
for _ in range(3):
    one = np.ones((1, 1), np.float32)
    replay.add(np.zeros(1, int), Rows(one, np.zeros(1, int), one, no, no, no, np.zeros(1, int), np.ones((1, 2), bool)))
batch = replay.sample(1, 64, unroll_steps=0, n_step=2, discount=0.5)
print(float(batch.partial_return.max()))
"""
EQUATION, PLANTED = "product *= discount[stored]", "product *= 1.0"


@pytest.fixture
def unset(monkeypatch):
    before = jax.config.jax_compilation_cache_dir
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    jax.config.update("jax_compilation_cache_dir", None)
    yield monkeypatch
    jax.config.update("jax_compilation_cache_dir", before)


def test_compiled_programs_go_to_the_users_cache_folder(unset, tmp_path):
    unset.setattr(caches.platformdirs, "user_cache_dir", lambda name: str(tmp_path / name))
    folder = caches.use_compilation_cache()
    assert folder == tmp_path / "muzen" / "jax" and folder.is_dir()
    assert jax.config.jax_compilation_cache_dir == str(folder)


def test_the_users_own_choice_of_folder_stays(unset, tmp_path):
    unset.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert caches.use_compilation_cache() is None
    assert jax.config.jax_compilation_cache_dir is None


def test_a_folder_that_cannot_be_written_costs_time_and_nothing_else(unset, tmp_path):
    (tmp_path / "file").write_text("")
    unset.setattr(caches.platformdirs, "user_cache_dir", lambda name: str(tmp_path / "file" / name))
    assert caches.use_compilation_cache() is None


def test_kernels_are_compiled_without_a_cache_where_no_folder_can_be_written():
    asked = []

    def refusing(cache):
        asked.append(cache)

        def decorate(function):
            if cache:
                raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
            return function

        return decorate

    assert compile_cached(refusing, abs) is abs and asked == [True, False]


def test_loops_of_maths_and_replay_do_without_a_cache_too(monkeypatch):
    def refusing(*, cache, nogil):
        if cache:
            raise RuntimeError("cannot cache function 'f': no locator available for file 'f.py'")
        return lambda function: function

    monkeypatch.setattr(caches, "njit", refusing)

    def loop():
        return 7

    assert caches.kernel(loop)() == 7


@pytest.mark.parametrize("package", ["maths", "replay"])
def test_a_change_in_any_of_their_files_gives_loops_another_name_in_the_cache(package, tmp_path, monkeypatch):
    monkeypatch.setattr(caches, "njit", lambda **_: lambda function: function)
    monkeypatch.setattr(caches, "__file__", str(tmp_path / "caches.py"))
    for folder in ("maths", "replay"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("1")
    (tmp_path / "search").mkdir()

    def name():
        caches.source_version.cache_clear()

        def loop():
            pass

        return caches.kernel(loop).__qualname__

    before = name()
    (tmp_path / "search" / "a.py").write_text("1")
    assert name() == before
    (tmp_path / package / "a.py").write_text("2")
    assert name() != before
    monkeypatch.undo()
    caches.source_version.cache_clear()


@pytest.mark.slow
def test_a_changed_equation_is_compiled_into_the_loops_that_call_it(tmp_path):
    """Numba itself looks only at the file of the outermost function."""
    package = Path(caches.__file__).parent
    shutil.copytree(package, tmp_path / "muzen", ignore=shutil.ignore_patterns("__pycache__"))
    script = tmp_path / "sample.py"
    script.write_text(SAMPLE)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "numba")}

    def sampled():
        done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
        return float(done.stdout)

    assert sampled() == sampled() == 1 + 0.5
    returns = tmp_path / "muzen" / "maths" / "returns.py"
    text = returns.read_text(encoding="utf-8")
    assert text.count(EQUATION) == 1
    returns.write_text(text.replace(EQUATION, PLANTED), encoding="utf-8")
    assert sampled() != 1 + 0.5


def test_another_error_of_the_compiler_is_not_taken_for_a_missing_cache():
    def failing(cache):
        raise RuntimeError("no such target")

    with pytest.raises(RuntimeError, match="no such target"):
        compile_cached(failing, abs)
