"""Where compiled programs are kept."""

import jax
import pytest

from muzen import caches
from muzen.search.cache import compile_cached


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


def test_another_error_of_the_compiler_is_not_taken_for_a_missing_cache():
    def failing(cache):
        raise RuntimeError("no such target")

    with pytest.raises(RuntimeError, match="no such target"):
        compile_cached(failing, abs)
