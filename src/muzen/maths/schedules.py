"""What changes over a run: the visit-count temperature and the learning rate."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from muzen.config import LearnConfig
from muzen.types import Array

# Below this a temperature is greedy: it keeps the division finite.
_MIN_TEMPERATURE = 1e-8


def visit_temperature(fraction: Any, start: float = 1.0, end: float = 0.25, *, steps: bool = True) -> np.ndarray:
    """Temperature T of acting, from `start` to `end` over training.

    In steps, the paper's: `start` for the first half of training, √(start · end) to three quarters, then
    `end`; 1, 0.5, 0.25 for 1 and 0.25. Without steps, start^(1−f) · end^f.

    Args:
      fraction: [...] of training done, 0 to 1.
      start: T at the start.
      end: T at the end.
      steps: the paper's three steps, or smooth.

    Returns:
      [...] T; NumPy's, for it is wanted between programs.

    Source: MuZero, arXiv:1911.08265, appendix D.
    """
    fraction = np.clip(fraction, 0.0, 1.0)
    # Of a smooth schedule the paper's steps take the values at 0, ½ and 1.
    exponent = np.where(fraction < 0.5, 0.0, np.where(fraction < 0.75, 0.5, 1.0)) if steps else fraction
    return start ** (1.0 - exponent) * end**exponent


def visit_policy(visits: Array, temperature: Array) -> Array:
    """π(a) = N(a)^(1/T) / Σ_b N(b)^(1/T), computed in logs; T = 0 is greedy, ties shared.

    Args:
      visits: [..., A] N(a); 0 where illegal.
      temperature: T, 0 or above, a scalar or [...].

    Returns:
      [..., A] float32, sums to 1, exactly 0 where N(a) = 0; all 0 where nothing was visited.

    Source: MuZero, arXiv:1911.08265, appendix D.
    """
    visits = jnp.asarray(visits, jnp.float32)
    inverse = 1.0 / jnp.maximum(jnp.asarray(temperature, jnp.float32), _MIN_TEMPERATURE)
    visited = visits > 0
    # Relative to the largest count: no power overflows however small T is, and the best has log 1 = 0 exactly.
    relative = jnp.log(jnp.maximum(visits, 1.0) / jnp.maximum(visits.max(-1, keepdims=True), 1.0))
    power = jnp.where(visited, jnp.exp(relative * inverse[..., None]), 0.0)
    return power / jnp.maximum(power.sum(-1, keepdims=True), 1.0)


def learning_rate(config: LearnConfig, updates: Array | int, total_updates: Array | int) -> Array:
    """Linear warm-up to the peak, then constant, or a cosine to 0 at the end of training.

    Args:
      config: `learning_rate`, `warmup_updates` and `schedule`.
      updates: [...] gradient steps done.
      total_updates: [] gradient steps of the whole run; may be traced, so that one program serves runs of any length.

    Returns:
      [...] the rate of the next gradient step; the first is above 0.
    """
    warmup = max(config.warmup_updates, 1)
    updates = jnp.asarray(updates)
    warm = jnp.minimum(1.0, (updates + 1) / warmup)
    if config.schedule == "constant":
        return config.learning_rate * warm
    progress = jnp.clip((updates - warmup) / jnp.maximum(total_updates - warmup, 1), 0.0, 1.0)
    return config.learning_rate * warm * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
