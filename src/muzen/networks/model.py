"""From a network's five functions to the `Model` that search asks: decoding, defaults, whose turn it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from muzen.maths.supports import Encoding
from muzen.networks.contract import Network, has, require_encoding, require_network, traceable
from muzen.types import Array, Prediction, State


class TurnState(NamedTuple):
    """State of a game in the tree: the network's own, and who moves in it."""

    network: State
    to_play: Array  # [B] int32


class NetworkModel(eqx.Module):
    """A network in the clothes of `types.Model`: what search, learner and agent hold.

    In a zero-sum game of two players in turn the network says one number, for the player to move, and it is written
    as (v, −v); a reward is seen by the player who acted. In any other game it says a number for each player. Nothing
    else in Muzen flips a sign.

    Attributes:
      network: the five functions; the only part that gradients move.
      value_encoding, reward_encoding: `encode` and `decode`.
      gamma: [] γ per environment step.
      observation_mean, observation_std: subtracted from, and divided into, observations; 0 and 1 where off.
      num_actions: A.
      players: P.
      learn_discount: take the end of episodes from the network's `continues`, where it has one.
      zero_sum: true if the network says one number of two players.
    """

    network: Any
    value_encoding: Any
    reward_encoding: Any
    gamma: Array
    observation_mean: Array
    observation_std: Array
    num_actions: int = eqx.field(static=True)
    players: int = eqx.field(static=True)
    learn_discount: bool = eqx.field(static=True)
    zero_sum: bool = eqx.field(static=True)

    def __init__(
        self,
        network: Network,
        value_encoding: Encoding,
        reward_encoding: Encoding,
        *,
        gamma: float,
        num_actions: int,
        players: int = 1,
        learn_discount: bool = True,
        zero_sum: bool = True,
        observation_mean: Array | float = 0.0,
        observation_std: Array | float = 1.0,
    ):
        require_network(network)
        require_encoding("value_encoding", value_encoding)
        require_encoding("reward_encoding", reward_encoding)
        self.network = traceable(network)
        self.value_encoding = traceable(value_encoding)
        self.reward_encoding = traceable(reward_encoding)
        self.gamma = jnp.asarray(gamma, jnp.float32)
        self.observation_mean = jnp.asarray(observation_mean, jnp.float32)
        self.observation_std = jnp.asarray(observation_std, jnp.float32)
        self.num_actions = num_actions
        self.players = players
        self.learn_discount = learn_discount
        self.zero_sum = players == 2 and zero_sum

    @property
    def learns_discount(self) -> bool:
        """True if the end of episodes is predicted; otherwise γ is constant in the tree."""
        return self.learn_discount and has(self.network, "continues")

    @property
    def learns_consistency(self) -> bool:
        """True if the network can be asked for the consistency loss."""
        return has(self.network, "project") and has(self.network, "predict")

    @property
    def learns_reconstruction(self) -> bool:
        """True if the network says what the observation of a state is."""
        return has(self.network, "reconstruct")

    @property
    def learns_to_play(self) -> bool:
        """True if the network says who moves next; otherwise players take turns."""
        return self.players > 1 and has(self.network, "to_play")

    @property
    def learns_legal(self) -> bool:
        """True if the network says what is legal; otherwise everything is, below the root."""
        return has(self.network, "legal")

    def normalise(self, observation: Array) -> Array:
        """[B, ...] observations of any dtype -> float32, minus the mean, over the deviation."""
        return (jnp.asarray(observation).astype(jnp.float32) - self.observation_mean) / self.observation_std

    def represent(self, observation: Array) -> State:
        """h: [B, ...] raw observations -> the network's states."""
        return self.network.representation(self.normalise(observation))

    def value_logits(self, state: State) -> Array:
        """The network's states -> [B, V, bins], V = P, or 1 for two players who share a sum."""
        return _with_player_axis(self.network.value(state))

    def reward_logits(self, state: State) -> Array:
        """The network's states -> [B, V, bins], V = P, or 1 for two players who share a sum."""
        return _with_player_axis(self.network.reward(state))

    def prediction_logits(self, state: State) -> tuple[Array, Array]:
        """f: the network's states -> policy logits [B, A] and value logits [B, V, bins], in one pass where it can."""
        policy, value = self._prediction(state)
        return policy, _with_player_axis(value)

    def transition_logits(self, state: State) -> tuple[Array, Array | None]:
        """What led to the states -> reward logits [B, V, bins], and continuation logits [B] or None if not learned."""
        reward, continues = self._transition(state)
        return _with_player_axis(reward), continues

    def own_view(self, x: Array, player: Array) -> Array:
        """What the network is trained on of numbers per player.

        Args:
          x: [..., P] values or rewards.
          player: [...] int, who moves (values), or who acted (rewards).

        Returns:
          [..., 1] the player's own entry for a zero-sum game of two, otherwise x.
        """
        if not self.zero_sum:
            return x
        return jnp.take_along_axis(x, jnp.asarray(player, jnp.int32)[..., None], axis=-1)

    def every_view(self, x: Array, player: Array) -> Array:
        """The inverse of `own_view`: [B, V] numbers the network says -> [B, P], (v, −v) for a zero-sum game of two."""
        if not self.zero_sum:
            return x
        return jnp.where(jnp.arange(2) == player[:, None], x, -x)

    def value_saturation(self, x: Array) -> Array:
        """[] share of values at the limit of the value encoding, or 0 where the encoding cannot say."""
        saturation: Callable | None = getattr(self.value_encoding, "saturation", None)
        return jnp.zeros(()) if saturation is None else saturation(x)

    def initial(self, observation: Array, to_play: Array | None = None) -> Prediction:
        """h then f.

        Args:
          observation: [B, ...] raw observations.
          to_play: [B] who moves; asked of the network, or else player 0, where it is not given.
        """
        state = self.represent(observation)
        size = jax.tree.leaves(state)[0].shape[0]
        if to_play is None:
            to_play = self._learned_to_play(state, jnp.zeros(size, jnp.int32))
        to_play = jnp.asarray(to_play, jnp.int32)
        return self._predict(state, jnp.zeros((size, self.players)), jnp.full(size, self.gamma), to_play)

    def recurrent(self, state: State, action: Array) -> Prediction:
        """g then f: the states after [B] int32 actions; `state` is a `Prediction`'s."""
        if self.players == 1:
            actor = jnp.zeros(action.shape, jnp.int32)
            to_play, following = actor, self.network.dynamics(state, action)
        else:
            actor, following = state.to_play, self.network.dynamics(state.network, action)
            to_play = self._learned_to_play(following, (actor + 1) % self.players)
        reward_logits, continues = self._transition(following)
        reward = self.every_view(_decoded(self.reward_encoding, reward_logits), actor)
        going_on = jnp.ones(action.shape) if continues is None else jax.nn.sigmoid(continues)
        discount = self.gamma * going_on
        return self._predict(following, reward, discount, to_play)

    def _predict(self, state: State, reward: Array, discount: Array, to_play: Array) -> Prediction:
        policy_logits, value_logits = self._prediction(state)
        value = self.every_view(_decoded(self.value_encoding, value_logits), to_play)
        return Prediction(
            reward=reward,
            discount=discount,
            to_play=to_play,
            legal=self._legal(state, to_play.shape[0]),
            value=value,
            policy_logits=policy_logits,
            state=state if self.players == 1 else TurnState(state, to_play),
        )

    def _prediction(self, state: State) -> tuple[Array, Array]:
        if has(self.network, "prediction"):
            return self.network.prediction(state)
        return self.network.policy(state), self.network.value(state)

    def _transition(self, state: State) -> tuple[Array, Array | None]:
        if not self.learns_discount:
            return self.network.reward(state), None
        if has(self.network, "transition"):
            return self.network.transition(state)
        return self.network.reward(state), self.network.continues(state)

    def _learned_to_play(self, state: State, otherwise: Array) -> Array:
        if not self.learns_to_play:
            return otherwise
        return self.network.to_play(state).argmax(-1).astype(jnp.int32)

    def _legal(self, state: State, size: int) -> Array:
        if not self.learns_legal:
            return jnp.ones((size, self.num_actions), bool)
        legal = self.network.legal(state) > 0
        # A predicted mask may deny every action; a node without actions has no answer.
        return legal | ~legal.any(-1, keepdims=True)


def _with_player_axis(logits: Array) -> Array:
    return logits[:, None] if logits.ndim == 2 else logits


def _decoded(encoding: Encoding, logits: Array) -> Array:
    """[B, bins] or [B, V, bins] logits -> [B, V] numbers."""
    # The axis is added to the numbers: XLA's CPU code for the softmax of [B, 1, bins] takes twice as long.
    return encoding.decode(logits)[:, None] if logits.ndim == 2 else encoding.decode(logits)
