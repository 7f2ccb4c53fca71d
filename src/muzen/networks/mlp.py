"""The built-in network: small residual MLPs for representation, dynamics, prediction and reward."""

from __future__ import annotations

import math
from collections.abc import Callable

import equinox as eqx

from muzen.config import NetworkConfig
from muzen.networks.blocks import Layer, Linear, ResidualBlock, activation, generator, state_scaling
from muzen.types import Array

# Logit of "goes on" before anything is learned: about 95 %, so that values reach through the first searches.
_CONTINUES_BIAS = 3.0
# Logit of "legal" before anything is learned: what is not known to be illegal may be searched.
_LEGAL_BIAS = 3.0


class MLPNetwork(eqx.Module):
    """The five functions of the paper on batches, and optional ones: ends of episodes, consistency, and where asked for
    what is legal and who moves.

    Hidden states are [B, width]. Policy and value share a hidden layer (the paper's prediction f), as do reward
    and continuation (the second half of its dynamics g). Heads start at 0: a uniform policy, value and reward 0.
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

        def head(outputs: int, bias: float = 0.0) -> Linear:
            return Linear(width, outputs, random=random, scale=0.0, bias=bias)

        self.entry = layer(math.prod(observation_shape))
        self.representation_blocks = blocks()
        # Deviation 1, as strong as what the state itself contributes: the action must show from the start.
        self.action_embedding = Linear(num_actions, width, random=random, scale=math.sqrt(num_actions)).weight
        self.dynamics_blocks = blocks()
        self.prediction_layer = layer(width)
        self.policy_head = head(num_actions)
        self.value_head = head(values * value_bins)
        self.transition_layer = layer(width)
        self.reward_head = head(values * reward_bins)
        self.continues_head = head(1, _CONTINUES_BIAS)
        self.projector = (layer(width), layer(width), Linear(width, width, random=random))
        self.predictor = (layer(width), Linear(width, width, random=random))
        self.legal_head = head(num_actions, _LEGAL_BIAS) if legal else None
        self.to_play_head = head(to_play) if to_play else None
        self.players = values
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

    def reward(self, state: Array) -> Array:
        """[B, width] -> [B, bins] or [B, P, bins]: logits of the reward of the step that led here."""
        return self._per_player(self.reward_head(self.transition_layer(state)))

    def policy(self, state: Array) -> Array:
        """[B, width] -> [B, A] logits."""
        return self.policy_head(self.prediction_layer(state))

    def value(self, state: Array) -> Array:
        """[B, width] -> [B, bins] or [B, P, bins] logits."""
        return self._per_player(self.value_head(self.prediction_layer(state)))

    def continues(self, state: Array) -> Array:
        """[B, width] -> [B] logit that the step that led here did not terminate the episode."""
        return self.continues_head(self.transition_layer(state))[..., 0]

    def prediction(self, state: Array) -> tuple[Array, Array]:
        """Policy and value at once: a gradient then passes through their shared layer once."""
        hidden = self.prediction_layer(state)
        return self.policy_head(hidden), self._per_player(self.value_head(hidden))

    def transition(self, state: Array) -> tuple[Array, Array]:
        """Reward and continuation at once: a gradient then passes through their shared layer once."""
        hidden = self.transition_layer(state)
        return self._per_player(self.reward_head(hidden)), self.continues_head(hidden)[..., 0]

    @property
    def legal(self) -> Callable[[Array], Array] | None:
        """[B, width] -> [B, A] logits of what is legal; None where it is not learned."""
        head = self.legal_head
        return None if head is None else lambda state: head(self.prediction_layer(state))

    @property
    def to_play(self) -> Callable[[Array], Array] | None:
        """[B, width] -> [B, P] logits of who moves; None where it is not learned."""
        head = self.to_play_head
        return None if head is None else lambda state: head(self.transition_layer(state))

    def project(self, state: Array) -> Array:
        """[B, width] -> [B, width]: the space in which unrolled and real states are compared."""
        first, second, out = self.projector
        return out(second(first(state)))

    def predict(self, projected: Array) -> Array:
        """[B, width] -> [B, width]: the unrolled side's prediction of the real side's projection."""
        first, out = self.predictor
        return out(first(projected))

    def _per_player(self, logits: Array) -> Array:
        return logits if self.players == 1 else logits.reshape(logits.shape[0], self.players, -1)


def make_network(
    config: NetworkConfig,
    observation_shape: tuple[int, ...],
    num_actions: int,
    value_bins: int,
    reward_bins: int,
    players: int,
    key: Array,
    *,
    zero_sum: bool = True,
    learn_legal: bool = False,
    learn_to_play: bool = False,
) -> MLPNetwork:
    """The built-in network for an environment.

    Args:
      config: width, blocks, norm, activation and state scaling.
      observation_shape: shape of one observation.
      num_actions: A.
      value_bins: bins of the value encoding.
      reward_bins: bins of the reward encoding.
      players: P.
      key: a JAX random key; the same key gives the same weights. Not inside `jax.jit`: NumPy draws them.
      zero_sum: of two players: one value and reward per state, for the player to move; otherwise P of each.
      learn_legal: say what is legal below the root.
      learn_to_play: say who moves next; otherwise players take turns.

    Raises:
      ConfigError: a setting is out of range or unknown.
    """
    values = 1 if players == 2 and zero_sum else players
    to_play = players if learn_to_play and players > 1 else 0
    return MLPNetwork(
        config, observation_shape, num_actions, value_bins, reward_bins, values, key, legal=learn_legal, to_play=to_play
    )
