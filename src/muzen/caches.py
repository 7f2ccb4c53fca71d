"""What is compiled is kept on disk between runs, for compiling is most of a start: JAX's programs, Numba's kernels."""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import platformdirs
from numba import njit

# Programs that compile faster than this are not worth a file.
_LEAST_COMPILE_S = 0.2


def use_compilation_cache() -> Path | None:
    """Let JAX keep compiled programs in the user's cache folder, unless the user has said where, or not to.

    `JAX_COMPILATION_CACHE_DIR` names another folder; `JAX_ENABLE_COMPILATION_CACHE=false` keeps none.

    Returns:
      The folder, or None where this leaves the user's own choice alone or the folder cannot be written.
    """
    named = getattr(jax.config, "jax_compilation_cache_dir", None)  # set by the environment variable too
    if named or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    folder = Path(platformdirs.user_cache_dir("muzen")) / "jax"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None  # a home that is read-only costs time at every start, and nothing else
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_COMPILE_S)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder


@functools.cache
def source_version(*packages: str) -> int:
    """A non-negative number that changes with any source file of these packages of Muzen.

    Numba keys its cache by the file of the outermost function, its name and its closure. A kernel that has this number
    in one of the two is compiled again when a function it calls, in another file, has changed.
    """
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((Path(__file__).parent / package).glob("*.py")):
            digest.update(path.read_bytes())
    return int.from_bytes(digest.digest()[:7], "little")


def compile_cached(decorator: Callable[..., Any], function: Callable[..., Any]) -> Any:
    """`decorator(cache=True)(function)`: beside the source, or else in the user's cache folder, or else uncached."""
    try:
        return decorator(cache=True)(function)
    except RuntimeError as error:  # Numba found no folder that it may write to
        if "cannot cache" not in str(error):
            raise
        return decorator(cache=False)(function)


def kernel(function: Callable[..., Any]) -> Any:
    """Decorates the loops of `maths` and `replay`: machine code that lets other threads run."""
    function.__qualname__ += f"_{source_version('maths', 'replay'):x}"
    return compile_cached(functools.partial(njit, nogil=True), function)
