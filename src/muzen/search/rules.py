"""Checks that the search rules share; numbers that are traced inside jit are taken as they come."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzen.errors import SearchError
from muzen.search.tree import MODES


def is_number(value: Any) -> bool:
    """True for a plain Python number, the only kind that can be checked before it is traced."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_count(name: str, value: Any) -> None:
    """Raise `SearchError` unless value is an integer of at least 1."""
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < 1:
        raise SearchError(f"{name}: {value!r} is not an integer of at least 1")


def check_at_least(name: str, value: Any, low: float, high: float = math.inf) -> None:
    """Raise `SearchError` if value is a number outside low..high, or text."""
    if isinstance(value, str | bytes | bool) or (is_number(value) and not low <= value <= high):
        limit = f"at least {low}" if high == math.inf else f"from {low} to {high}"
        raise SearchError(f"{name}: {value!r} is not a number of {limit}")


def per_root(explore: Any) -> jax.Array:
    """The scale of the noise as [1, 1] or [B, 1]: a bool or number for all roots, or [B] numbers."""
    return jnp.asarray(explore, jnp.float32).reshape(-1, 1)


def is_one_key(key: Any) -> bool:
    """True for one random key, typed or raw; False for one key a root."""
    typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return jnp.ndim(key) == (0 if typed else 1)


def split(key: Any) -> tuple[Any, Any]:
    """Two keys from one, or two for each of [B] keys."""
    first, second = jax.random.split(key) if is_one_key(key) else jax.vmap(jax.random.split, out_axes=1)(key)
    return first, second


def drawn(sample: Callable[..., jax.Array], key: Any, like: jax.Array) -> jax.Array:
    """`sample(key, like)` [B, A]; from one key for all roots, or each row from the root's own key."""
    return sample(key, like) if is_one_key(key) else jax.vmap(sample)(key, like)


def gumbel(key: Any, like: jax.Array) -> jax.Array:
    """[B, A] standard Gumbel noise."""
    return drawn(lambda k, x: jax.random.gumbel(k, x.shape, jnp.float32), key, like)


def check_common(rule: str, normalise: Any, span_floor: Any, bounds: Any) -> None:
    """Check the fields that every rule has."""
    if normalise not in MODES:
        raise SearchError(f"{rule}.normalise: {normalise!r} is unknown; choose one of {', '.join(MODES)}")
    check_at_least(f"{rule}.span_floor", span_floor, 0)
    if bounds is None:
        return
    if normalise != "tree":
        raise SearchError(f"{rule}.bounds: {bounds!r} seeds the tree's interval; it needs normalise='tree'")
    if isinstance(bounds, tuple | list) and len(bounds) != 2:
        raise SearchError(f"{rule}.bounds: {bounds!r} is not a pair (lowest, highest)")
    if isinstance(bounds, tuple | list) and all(map(is_number, bounds)) and not bounds[0] < bounds[1]:
        raise SearchError(f"{rule}.bounds: {bounds!r}: the lowest value must be below the highest")
