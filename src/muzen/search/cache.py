"""Compiled kernels on disk: 10 s of compiling once per machine, a fraction of a second after that."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any


@functools.cache
def source_version() -> int:
    """A non-negative number that changes with any source file of the kernels.

    Numba keys its cache by the file of the outermost function and by that function's closure. A kernel that has
    this number in its closure is compiled again when a function it calls, in another file, has changed.
    """
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
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
