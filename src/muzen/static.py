"""Pytrees as what jit compiles for and arrays: a call of a program costs far less so than with modules as arguments."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import numpy as np


class Static(NamedTuple):
    """What of a pytree is no array, hashable: jit compiles once for each of these, given as a static argument."""

    structure: Any
    leaves: tuple[Any, ...]  # None where an array stood

    def join(self, arrays: list[Any]) -> Any:
        """The pytree with these arrays in it."""
        found = iter(arrays)
        return jax.tree.unflatten(self.structure, [next(found) if x is None else x for x in self.leaves])


def split(tree: Any) -> tuple[Static, list[Any]]:
    """A pytree, such as an Equinox module, as its `Static` and its arrays, traced ones too."""
    leaves, structure = jax.tree.flatten(tree)
    arrays = [x for x in leaves if isinstance(x, jax.Array | np.ndarray)]
    rest = tuple(None if isinstance(x, jax.Array | np.ndarray) else x for x in leaves)
    return Static(structure, rest), arrays
