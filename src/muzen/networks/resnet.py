"""The built-in network for planes: residual towers of 3×3 convolutions, actions entering the dynamics as planes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.config import NetworkConfig
from muzen.errors import ConfigError
from muzen.networks.blocks import NORM_EPSILON, Layer, Linear, activation, generator, state_scaling
from muzen.networks.heads import Heads
from muzen.types import Array

# A CPU convolves 24 planes faster than 18: inputs are filled up with empty planes to a multiple of this.
_WHOLE_PLANES = 8


def _convolve(x: jax.Array, weight: jax.Array, padding: Any = "SAME") -> jax.Array:
    planes = (0, -x.shape[-1] % _WHOLE_PLANES)
    filled = jnp.pad(x, [(0, 0), (0, 0), (0, 0), planes])
    taking = jnp.pad(weight, [(0, 0), (0, 0), planes, (0, 0)])
    return jax.lax.conv_general_dilated(filled, taking, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"))


@jax.custom_vjp
def convolve(x: jax.Array, weight: jax.Array) -> jax.Array:
    """[B, H, W, inputs] with [size, size, inputs, outputs] -> [B, H, W, outputs]; size is odd.

    Forward it is XLA's own convolution, which is fastest in this layout; its gradient in the weights is not used, for
    in a loop on a CPU that is many times slower than the same convolution said this way (docs/log.md, "Convolutions").
    """
    return _convolve(x, weight)


def _forward(x: jax.Array, weight: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _convolve(x, weight), (x, weight)


def _backward(kept: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weight = kept
    edge = weight.shape[0] // 2
    into_x = _convolve(gradient, weight[::-1, ::-1].swapaxes(2, 3))
    # Every weight meets the whole batch: the batch takes the place of the planes, the gradient that of the weights.
    into_weight = _convolve(x.transpose(3, 1, 2, 0), gradient.transpose(1, 2, 0, 3), [(edge, edge), (edge, edge)])
    return into_x, into_weight.transpose(1, 2, 0, 3)


convolve.defvjp(_forward, _backward)


class Convolution(eqx.Module):
    """A convolution that keeps height and width. [B, H, W, inputs] -> [B, H, W, outputs]."""

    weight: Array  # [size, size, inputs, outputs]
    bias: Array  # [outputs]

    def __init__(self, inputs: int, outputs: int, size: int, *, random: np.random.Generator):
        """Uniform weights of deviation 1 / √(inputs size²), to keep a unit variance."""
        unit = random.uniform(-math.sqrt(3), math.sqrt(3), (size, size, inputs, outputs))
        self.weight = jnp.asarray(unit / math.sqrt(inputs * size * size), jnp.float32)
        self.bias = jnp.asarray(np.zeros(outputs), jnp.float32)

    def __call__(self, x: Array) -> Array:
        return convolve(jnp.asarray(x), jnp.asarray(self.weight)) + self.bias


class PlaneNorm(eqx.Module):
    """Mean 0 and deviation 1 over all planes of a state, then a gain and bias for each plane. arXiv:1803.08494.

    Departure from the paper's batch normalisation: a state is then the same whatever else is in its batch.
    """

    gain: Array  # [C]
    bias: Array  # [C]

    def __init__(self, channels: int):
        self.gain = jnp.asarray(np.ones(channels), jnp.float32)
        self.bias = jnp.asarray(np.zeros(channels), jnp.float32)

    def __call__(self, x: Array) -> Array:
        centred = x - x.mean((1, 2, 3), keepdims=True)
        variance = (centred * centred).mean((1, 2, 3), keepdims=True)
        scaled = centred * jax.lax.rsqrt(variance + NORM_EPSILON)
        return scaled * self.gain + self.bias


class PlaneLayer(eqx.Module):
    """activation(norm(convolution(x)))."""

    convolution: Convolution
    norm: PlaneNorm | None
    activation: str = eqx.field(static=True)

    def __init__(self, inputs: int, outputs: int, size: int, config: NetworkConfig, random: np.random.Generator):
        self.convolution = Convolution(inputs, outputs, size, random=random)
        self.norm = PlaneNorm(outputs) if config.norm else None
        self.activation = config.activation

    def __call__(self, x: Array) -> Array:
        x = self.convolution(x)
        return activation(self.activation)(x if self.norm is None else self.norm(x))


class PlaneBlock(eqx.Module):
    """x + convolution(layer(x))."""

    layer: PlaneLayer
    out: Convolution

    def __init__(self, config: NetworkConfig, random: np.random.Generator):
        self.layer = PlaneLayer(config.channels, config.channels, 3, config, random)
        self.out = Convolution(config.channels, config.channels, 3, random=random)

    def __call__(self, x: Array) -> Array:
        return x + self.out(self.layer(x))


class Neck(eqx.Module):
    """A 1×1 convolution to a few planes, then a layer on all their cells: [B, H, W, C] -> [B, width]."""

    planes: PlaneLayer
    layer: Layer

    def __init__(self, shape: tuple[int, ...], config: NetworkConfig, random: np.random.Generator):
        few = min(config.channels, _NECK_PLANES)
        self.planes = PlaneLayer(config.channels, few, 1, config, random)
        cells = math.prod(shape[1:])
        self.layer = Layer(few * cells, config.width, norm=config.norm, activation=config.activation, random=random)

    def __call__(self, state: Array) -> Array:
        few = self.planes(state)
        return self.layer(few.reshape(few.shape[0], -1))


# Planes that the heads look at: the paper's policy and value heads have 2 and 1, with no other head beside them.
_NECK_PLANES = 8


def action_planes(shape: tuple[int, ...], num_actions: int) -> np.ndarray | None:
    """[A, H, W] what an action looks like on a board, or None where actions don't map onto it.

    As many actions as cells are the cells row by row, one more is a pass, as many as columns are the columns.
    """
    _, height, width = shape
    cells = height * width
    if num_actions in (cells, cells + 1):
        planes = np.zeros((num_actions, cells), np.float32)
        planes[:cells] = np.eye(cells)
        return planes.reshape(num_actions, height, width)
    if num_actions == width:
        return np.broadcast_to(np.eye(width, dtype=np.float32)[:, None], (width, height, width)).copy()
    return None


class ResNetwork(Heads, eqx.Module):
    """The paper's convolutional network for boards, small; the same functions as `MLPNetwork`.

    Hidden states are [B, H, W, channels], scaled by min–max over the whole state. An action enters the dynamics as a
    plane where actions map onto the board, otherwise as constant planes, one number for each, which are learned. Where
    actions are the four directions the board is turned instead, so that what is learned of one holds for all.
    """

    entry: PlaneLayer
    representation_blocks: tuple[PlaneBlock, ...]
    action_entry: PlaneLayer | None
    turned_entry: PlaneLayer | None  # in its place where actions are directions
    action_embedding: Array | None  # [A, channels]
    dynamics_blocks: tuple[PlaneBlock, ...]
    prediction_layer: Neck
    policy_head: Linear
    value_head: Linear
    transition_layer: Neck
    reward_head: Linear
    continues_head: Linear
    projector: tuple[Neck, Layer, Linear]
    predictor: tuple[Layer, Linear]
    legal_head: Linear | None
    to_play_head: Linear | None
    decoder: tuple[PlaneLayer, Convolution] | None
    shape: tuple[int, int, int] = eqx.field(static=True)
    actions: int = eqx.field(static=True)
    players: int = eqx.field(static=True)  # values and rewards per state: 1, or P
    scaling: str = eqx.field(static=True)

    def __init__(
        self,
        config: NetworkConfig,
        observation_shape: tuple[int, ...],
        num_actions: int,
        value_bins: int,
        reward_bins: int,
        values: int,
        key: Array,
        *,
        legal: bool = False,
        to_play: int = 0,
        directions: bool = False,
        reconstruct: bool = False,
    ):
        """Args as `make_network`; `values` is their number per state, `to_play` the players to choose from or 0."""
        if len(observation_shape) != 3:
            raise ConfigError(
                f"network.kind: resnet needs observations of shape [C, H, W], which {observation_shape} is not; use mlp"
            )
        activation(config.activation)
        state_scaling(config.state_scaling)
        random, width, channels = generator(key), config.width, config.channels
        planes, height, across = observation_shape

        def blocks() -> tuple[PlaneBlock, ...]:
            return tuple(PlaneBlock(config, random) for _ in range(config.blocks))

        self.shape, self.actions = (planes, height, across), num_actions
        if directions and (num_actions, height) != (4, across):
            raise ConfigError(
                f"directions: {num_actions} actions on a board of {height} by {across}; they must be "
                "4 on a square one; leave EnvSpec.directions false"
            )
        mapped = not directions and action_planes(observation_shape, num_actions) is not None
        self.entry = PlaneLayer(planes, channels, 3, config, random)
        self.representation_blocks = blocks()
        # Two planes of a move: where it goes, and ones all over the board for a pass.
        entry = PlaneLayer(channels + 2 * mapped, channels, 3, config, random)
        self.action_entry, self.turned_entry = (None, entry) if directions else (entry, None)
        self.action_embedding = None
        if not mapped and not directions:
            unit = Linear(num_actions, channels, random=random, scale=math.sqrt(num_actions))
            self.action_embedding = unit.weight
        self.dynamics_blocks = blocks()
        self._make_heads(
            width,
            num_actions,
            value_bins,
            reward_bins,
            values,
            random,
            hidden=lambda: Neck(observation_shape, config, random),
            layer=lambda: Layer(width, width, norm=config.norm, activation=config.activation, random=random),
            legal=legal,
            to_play=to_play,
        )
        self.scaling = config.state_scaling
        self.decoder = None
        if reconstruct:
            layer = PlaneLayer(channels, channels, 1, config, random)
            self.decoder = layer, Convolution(channels, planes, 1, random=random)

    def representation(self, observation: Array) -> Array:
        """[B, planes, H, W] observations -> [B, H, W, channels] states."""
        x = self.entry(jnp.moveaxis(observation, 1, -1))
        for block in self.representation_blocks:
            x = block(x)
        return state_scaling(self.scaling)(x)

    def dynamics(self, state: Array, action: Array) -> Array:
        """[B, H, W, channels] states and [B] int32 actions -> next states."""
        if self.turned_entry is not None:
            # Seen so that the action is the first direction; what follows is turned back.
            state = _quarter_turns(state, action)
            added = self.turned_entry(state)
        else:
            assert self.action_entry is not None
            added = self.action_entry(self._with_action(state, action))
        # The state itself goes round what the action adds, so that a board that hardly changes is easily kept.
        x = state + added
        for block in self.dynamics_blocks:
            x = block(x)
        if self.turned_entry is not None:
            x = _quarter_turns(x, -action)
        return state_scaling(self.scaling)(x)

    def _with_action(self, state: Array, action: Array) -> Array:
        """[B, H, W, channels] states and [B] actions -> planes that show both."""
        if self.action_embedding is not None:
            return state + self.action_embedding[action][:, None, None]
        table = action_planes(self.shape, self.actions)
        where = jnp.asarray(table)[action]
        nowhere = 1.0 - where.max((1, 2), keepdims=True) + jnp.zeros_like(where)
        return jnp.concatenate([state, where[..., None], nowhere[..., None]], -1)

    @property
    def reconstruct(self) -> Callable[[Array], Array] | None:
        """States -> [B, planes, H, W] logits, above 0 where an entry of the observation is 1; None if not learned."""
        if self.decoder is None:
            return None
        layer, out = self.decoder
        return lambda state: jnp.moveaxis(out(layer(state)), -1, 1)


def _quarter_turns(x: Array, turns: Array) -> Array:
    """[B, H, W, C] turned counterclockwise by [B] quarters."""
    which = (turns % 4)[:, None, None, None]
    return jnp.select([which == k for k in range(4)], [jnp.rot90(x, k, (1, 2)) for k in range(4)])
