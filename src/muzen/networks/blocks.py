"""Pieces that networks are built of: linear layers, LayerNorm, residual blocks, hidden-state scaling."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.errors import ConfigError
from muzen.types import Array

# Spans below this count as this: a constant state would otherwise be scaled to NaN.
_MIN_SPAN = 1e-5
NORM_EPSILON = 1e-5

_ACTIVATIONS: dict[str, Callable] = {"relu": jax.nn.relu, "silu": jax.nn.silu}


def activation(name: str) -> Callable[[Array], Array]:
    """The activation of a name.

    Raises:
      ConfigError: no activation has this name.
    """
    if name not in _ACTIVATIONS:
        raise ConfigError(f"network.activation: {name!r} is not an activation; use one of {sorted(_ACTIVATIONS)}")
    return _ACTIVATIONS[name]


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _extreme(reduce: Callable[..., Array], axes: tuple[int, ...], state: Array) -> Array:
    """The lowest or the highest entry, axes kept; the entries that share it share its gradient."""
    return reduce(state, axes, keepdims=True)


@_extreme.defjvp
def _extreme_jvp(reduce, axes, primals, tangents):
    # JAX's own rule divides by the number of entries that equal the extreme. XLA may compute `state` twice, for the
    # extreme and for this comparison, with other rounding: then none does, and 0 / 0 would be the gradient. Its part
    # is left out here.
    (state,), (tangent,) = primals, tangents
    extreme = _extreme(reduce, axes, state)
    there = (state == extreme).astype(state.dtype)
    count = jnp.maximum(there.sum(axes, keepdims=True), 1)
    return extreme, (tangent * there).sum(axes, keepdims=True) / count


def min_max(state: Array) -> Array:
    """Scale each state to [0, 1] by its own smallest and largest entry; a constant state becomes 0.

    s_scaled = (s − min s) / (max s − min s)

    Args:
      state: [B, ...]; the interval is taken over all axes but B.

    Returns:
      [B, ...] in [0, 1].

    Source: MuZero, arXiv:1911.08265, appendix G.
    """
    axes = tuple(range(1, state.ndim))
    low = _extreme(jnp.min, axes, state)
    span = _extreme(jnp.max, axes, state) - low
    return (state - low) / jnp.maximum(span, _MIN_SPAN)


def state_scaling(name: str) -> Callable[[Array], Array]:
    """How hidden states are bounded: `min_max` or `tanh`.

    Raises:
      ConfigError: no scaling has this name.
    """
    scalings: dict[str, Callable] = {"minmax": min_max, "tanh": jnp.tanh}
    if name not in scalings:
        raise ConfigError(f"network.state_scaling: {name!r} is not a scaling; use one of {sorted(scalings)}")
    return scalings[name]


def generator(key: Array) -> np.random.Generator:
    """A NumPy generator that follows from a JAX key; first weights are drawn with it, as nothing then compiles."""
    data = jax.random.key_data(key) if jnp.issubdtype(key.dtype, jax.dtypes.prng_key) else key
    return np.random.default_rng(np.asarray(data).ravel())


class Linear(eqx.Module):
    """x W + b on the last axis."""

    weight: Array  # [inputs, outputs]
    bias: Array  # [outputs]

    def __init__(
        self, inputs: int, outputs: int, *, random: np.random.Generator, scale: float = 1.0, bias: float = 0.0
    ):
        """Uniform weights of deviation scale / √inputs, to keep a unit variance; a scale of 0 starts at the bias."""
        unit = random.uniform(-math.sqrt(3), math.sqrt(3), (inputs, outputs))
        self.weight = jnp.asarray(unit * (scale / math.sqrt(inputs)), jnp.float32)
        self.bias = jnp.asarray(np.full(outputs, bias), jnp.float32)

    def __call__(self, x: Array) -> Array:
        return x @ self.weight + self.bias


class LayerNorm(eqx.Module):
    """Mean 0 and deviation 1 over the last axis, then a learned gain and bias. arXiv:1607.06450."""

    gain: Array  # [width]
    bias: Array  # [width]

    def __init__(self, width: int):
        self.gain = jnp.asarray(np.ones(width), jnp.float32)
        self.bias = jnp.asarray(np.zeros(width), jnp.float32)

    def __call__(self, x: Array) -> Array:
        centred = x - x.mean(-1, keepdims=True)
        variance = (centred * centred).mean(-1, keepdims=True)
        return centred * jax.lax.rsqrt(variance + NORM_EPSILON) * self.gain + self.bias


class Layer(eqx.Module):
    """activation(norm(x W + b + extra))."""

    linear: Linear
    norm: LayerNorm | None
    activation: str = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, *, norm: bool, activation: str, random: np.random.Generator):
        self.linear = Linear(inputs, outputs, random=random)
        self.norm = LayerNorm(outputs) if norm else None
        self.activation = activation

    def __call__(self, x: Array, extra: Array | float = 0.0) -> Array:
        x = self.linear(x) + extra
        return activation(self.activation)(x if self.norm is None else self.norm(x))


class ResidualBlock(eqx.Module):
    """x + W₂ activation(norm(W₁ x + extra))."""

    layer: Layer
    out: Linear

    def __init__(self, width: int, *, norm: bool, activation: str, random: np.random.Generator):
        self.layer = Layer(width, width, norm=norm, activation=activation, random=random)
        self.out = Linear(width, width, random=random)

    def __call__(self, x: Array, extra: Array | float = 0.0) -> Array:
        return x + self.out(self.layer(x, extra))
