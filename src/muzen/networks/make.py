"""The built-in network for an environment's facts."""

from __future__ import annotations

from muzen.config import NetworkConfig
from muzen.networks.mlp import MLPNetwork
from muzen.networks.resnet import ResNetwork
from muzen.types import Array


def is_convolutional(config: NetworkConfig, observation_shape: tuple[int, ...]) -> bool:
    """Whether the built-in network is a residual tower over planes [C, H, W]; otherwise it is an MLP."""
    return config.kind == "resnet" or (config.kind == "auto" and len(observation_shape) == 3)


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
    directions: bool = False,
    reconstruct: bool = False,
) -> MLPNetwork | ResNetwork:
    """The built-in network for an environment.

    Args:
      config: its kind and sizes.
      observation_shape: shape of one observation.
      num_actions: A.
      value_bins: bins of the value encoding.
      reward_bins: bins of the reward encoding.
      players: P.
      key: a JAX random key; the same key gives the same weights. Not inside `jax.jit`: NumPy draws them.
      zero_sum: of two players: one value and reward per state, for the player to move; otherwise P of each.
      learn_legal: say what is legal below the root.
      learn_to_play: say who moves next; otherwise players take turns.
      directions: actions 0 to 3 are up, right, down, left on a square board, however many columns it has.
      reconstruct: say what the observation of a state is; only with convolutions.

    Raises:
      ConfigError: a setting is out of range or unknown.
    """
    values = 1 if players == 2 and zero_sum else players
    to_play = players if learn_to_play and players > 1 else 0
    facts = (config, observation_shape, num_actions, value_bins, reward_bins, values, key)
    if is_convolutional(config, observation_shape):
        return ResNetwork(*facts, legal=learn_legal, to_play=to_play, directions=directions, reconstruct=reconstruct)
    return MLPNetwork(*facts, legal=learn_legal, to_play=to_play)
