"""A model that looks at a board from every side: its answers are the mean of what it says of all symmetric views."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.types import Array, Model, Prediction, State, Symmetry


class Views(eqx.Module):
    """As `types.Model`: a model averaged over the S symmetries of its game, at the root and below it.

    Values, rewards, γ and log-probabilities are means; legal is what half of the views call so; who moves is what the
    first view says, which is the board as it is. A state holds one of the model's for each view, [B, S, ...]. A turned
    board has the turned answer, as if by an ensemble of S networks, at S times the work.

    Attributes:
      model: what is asked.
      cell: [S, size] entry of an observation, flattened, that each view shows in each place.
      action: [S, A] action that each action becomes in a view.
      player: [S, P] player that each player becomes.
    """

    model: Any
    cell: Array
    action: Array
    player: Array

    def __init__(self, model: Model, symmetries: Sequence[Symmetry]):
        """Args: `symmetries` of the game, the identity first."""
        self.model = model
        self.cell, self.action, self.player = (
            jnp.asarray(np.stack(of), jnp.int32) for of in zip(*symmetries, strict=True)
        )

    def initial(self, observation: Array, to_play: Array | None = None) -> Prediction:
        """The roots of [B, ...] observations, [B] to play."""
        observation = jnp.asarray(observation)
        size, shape = len(observation), observation.shape[1:]
        turned = observation.reshape(size, -1)[:, self.cell]
        mover = None if to_play is None else self.player.T[jnp.asarray(to_play)].reshape(-1)
        return self._mean(self.model.initial(turned.reshape(-1, *shape), mover), size)

    def recurrent(self, state: State, action: Array) -> Prediction:
        """The B states after [B] int32 actions."""
        each = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
        turned = self.action.T[action].reshape(-1)
        return self._mean(self.model.recurrent(each, turned), len(action))

    def _mean(self, said: Prediction, size: int) -> Prediction:
        """What [B S] views say -> what they say of [B] boards, as the first view shows them."""

        def rows(x: Array) -> Array:
            return x.reshape(size, -1, *x.shape[1:])

        def back(x: Array, became: Array) -> Array:
            return jnp.take_along_axis(rows(x), became[None], -1)

        legal = back(said.legal, self.action).mean(1) >= 0.5
        return Prediction(
            reward=back(said.reward, self.player).mean(1),
            discount=rows(said.discount).mean(1),
            to_play=rows(said.to_play)[:, 0],
            legal=legal | ~legal.any(-1, keepdims=True),
            value=back(said.value, self.player).mean(1),
            policy_logits=back(jax.nn.log_softmax(said.policy_logits), self.action).mean(1),
            state=jax.tree.map(rows, said.state),
        )
