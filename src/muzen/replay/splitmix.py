"""SplitMix64: random numbers for kernels that need an unknown number of them, from one seed a call."""

from __future__ import annotations

import numpy as np

from muzen.caches import kernel


@kernel
def random_bits(state: np.ndarray) -> np.uint64:
    """SplitMix64: advance `state` [1] uint64 and return 64 random bits."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@kernel
def random_unit(state: np.ndarray) -> float:
    """A float64 in [0, 1)."""
    return np.float64(random_bits(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@kernel
def random_below(state: np.ndarray, n: int) -> int:
    """An integer in [0, n)."""
    return int(random_unit(state) * n)
