"""The built-in network: small residual MLPs for representation, dynamics, prediction and reward."""

from __future__ import annotations

import math

import equinox as eqx

from muzen.config import NetworkConfig
from muzen.networks.blocks import Layer, Linear, ResidualBlock, activation, generator, state_scaling
from muzen.networks.heads import Heads
from muzen.types import Array


class MLPNetwork(Heads, eqx.Module):
    """The five functions of the paper on batches, and optional ones: ends of episodes, consistency, and where asked for
    what is legal and who moves.

    Hidden states are [B, width]. Heads start at 0: a uniform policy, value and reward 0.
    """

    entry: Layer
    representation_blocks: tuple[ResidualBlock, ...]
    action_embedding: Array  # [A, width]
    dynamics_blocks: tuple[ResidualBlock, ...]
    prediction_layer: Layer
    policy_head: Linear
    value_head: Linear
    transition_layer: Layer
    reward_head: Linear
    continues_head: Linear
    projector: tuple[Layer, Layer, Linear]
    predictor: tuple[Layer, Linear]
    legal_head: Linear | None
    to_play_head: Linear | None
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
    ):
        """Args as `make_network`; `values` is their number per state, `to_play` the players to choose from or 0."""
        width, norm, name = config.width, config.norm, config.activation
        # Refuse an unknown name here, not when the network is first used.
        activation(name)
        state_scaling(config.state_scaling)
        random = generator(key)

        def layer(inputs: int) -> Layer:
            return Layer(inputs, width, norm=norm, activation=name, random=random)

        def blocks() -> tuple[ResidualBlock, ...]:
            make = (ResidualBlock(width, norm=norm, activation=name, random=random) for _ in range(config.blocks))
            return tuple(make)

        self.entry = layer(math.prod(observation_shape))
        self.representation_blocks = blocks()
        # Deviation 1, as strong as what the state itself contributes: the action must show from the start.
        self.action_embedding = Linear(num_actions, width, random=random, scale=math.sqrt(num_actions)).weight
        self.dynamics_blocks = blocks()
        self._make_heads(
            width,
            num_actions,
            value_bins,
            reward_bins,
            values,
            random,
            hidden=lambda: layer(width),
            layer=lambda: layer(width),
            legal=legal,
            to_play=to_play,
        )
        self.scaling = config.state_scaling

    def representation(self, observation: Array) -> Array:
        """[B, ...] observations -> [B, width] states."""
        x = self.entry(observation.reshape(observation.shape[0], -1))
        for block in self.representation_blocks:
            x = block(x)
        return state_scaling(self.scaling)(x)

    def dynamics(self, state: Array, action: Array) -> Array:
        """[B, width] states and [B] int32 actions -> [B, width] next states."""
        first, *rest = self.dynamics_blocks
        x = first(state, self.action_embedding[action])
        for block in rest:
            x = block(x)
        return state_scaling(self.scaling)(x)
