"""Prioritised replay: p_i, P(i) and the importance weights. Every function takes NumPy or JAX arrays."""

from __future__ import annotations

from types import ModuleType

from muzen.types import Array

# Departure: the paper's p_i may be 0, and such a step would never be sampled again.
MIN_PRIORITY = 1e-6


def _namespace(x: Array) -> ModuleType:
    return x.__array_namespace__()


def priority(error: Array) -> Array:
    """p_i = |ν_i − z_i|, at least 1e-6; several players' errors are summed by the caller.

    Args:
      error: [B] search or network value minus value target, environment units.

    Returns:
      [B], above 0.

    Source: MuZero, arXiv:1911.08265, appendix G.
    """
    xp = _namespace(error)
    return xp.maximum(xp.abs(error), MIN_PRIORITY)


def probabilities(priority: Array, alpha: float) -> Array:
    """P(i) = p_i^α / Σ_k p_k^α; α = 0 is uniform. A priority of exactly 0 marks a step that is not there.

    Args:
      priority: [N] p_i, 0 or above.
      alpha: α, 0 or above.

    Returns:
      [N], sums to 1; exactly 0 where the priority is 0.

    Source: MuZero, arXiv:1911.08265, appendix G; arXiv:1511.05952.
    """
    xp = _namespace(priority)
    present = priority > 0
    power = xp.where(present, xp.where(present, priority, 1.0) ** alpha, 0.0)
    return power / power.sum()


def importance_weights(probability: Array, size: int, beta: float) -> Array:
    """w_i = (1 / (N P(i)))^β, divided by the largest of the batch.

    Args:
      probability: [B] P(i) of the sampled steps, above 0.
      size: N, steps that could have been sampled.
      beta: β, 0 (no correction) to 1 (full correction).

    Returns:
      [B], above 0, at most 1.

    Source: MuZero, arXiv:1911.08265, appendix G; arXiv:1511.05952, section 3.4.
    """
    weight = (1.0 / (size * probability)) ** beta
    return weight / weight.max()
