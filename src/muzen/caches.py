"""Compiled programs kept on disk between runs, in the user's cache folder: compiling is most of a start."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import platformdirs

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
