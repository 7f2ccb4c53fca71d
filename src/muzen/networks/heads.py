"""What every built-in network says of a state, from the hidden layers that its kind puts before the heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from muzen.networks.blocks import Layer, Linear
from muzen.types import Array

# Logit of "goes on" before anything is learned: about 95 %, so that values reach through the first searches.
CONTINUES_BIAS = 3.0
# Logit of "legal" before anything is learned: what is not known to be illegal may be searched.
LEGAL_BIAS = 3.0


class Heads:
    """Policy, value, reward and the optional functions of the contract, on the network's own states.

    Policy, value and what is legal share a hidden layer (the paper's prediction f), as do reward, continuation and who
    moves (the second half of its dynamics g). A subclass is an `equinox.Module` with these fields.
    """

    if TYPE_CHECKING:
        prediction_layer: Callable[[Array], Array]  # states -> [B, width]
        policy_head: Linear
        value_head: Linear
        transition_layer: Callable[[Array], Array]  # states -> [B, width]
        reward_head: Linear
        continues_head: Linear
        projector: tuple[Callable[[Array], Array], Layer, Linear]
        predictor: tuple[Layer, Linear]
        legal_head: Linear | None
        to_play_head: Linear | None
        players: int  # values and rewards per state: 1, or P

    def _make_heads(
        self,
        width: int,
        num_actions: int,
        value_bins: int,
        reward_bins: int,
        values: int,
        random: np.random.Generator,
        *,
        hidden: Callable[[], Any],
        layer: Callable[[], Layer],
        legal: bool,
        to_play: int,
    ) -> None:
        """Set every field but those of representation and dynamics.

        Args:
          width: units of every hidden layer.
          num_actions, value_bins, reward_bins, values, legal, to_play: as the networks take them.
          random: draws the weights.
          hidden: makes a layer states -> [B, width], of the network's own kind.
          layer: makes a layer [B, width] -> [B, width].
        """

        def head(outputs: int, bias: float = 0.0) -> Linear:
            """It starts at its bias, whatever the state."""
            return Linear(width, outputs, random=random, scale=0.0, bias=bias)

        self.prediction_layer = hidden()
        self.policy_head = head(num_actions)
        self.value_head = head(values * value_bins)
        self.transition_layer = hidden()
        self.reward_head = head(values * reward_bins)
        self.continues_head = head(1, CONTINUES_BIAS)
        self.projector = (hidden(), layer(), Linear(width, width, random=random))
        self.predictor = (layer(), Linear(width, width, random=random))
        self.legal_head = head(num_actions, LEGAL_BIAS) if legal else None
        self.to_play_head = head(to_play) if to_play else None
        self.players = values

    def reward(self, state: Array) -> Array:
        """States -> [B, bins] or [B, P, bins]: logits of the reward of the step that led here."""
        return self._per_player(self.reward_head(self.transition_layer(state)))

    def policy(self, state: Array) -> Array:
        """States -> [B, A] logits."""
        return self.policy_head(self.prediction_layer(state))

    def value(self, state: Array) -> Array:
        """States -> [B, bins] or [B, P, bins] logits."""
        return self._per_player(self.value_head(self.prediction_layer(state)))

    def continues(self, state: Array) -> Array:
        """States -> [B] logit that the step that led here did not terminate the episode."""
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
        """States -> [B, A] logits of what is legal; None where it is not learned."""
        head = self.legal_head
        return None if head is None else lambda state: head(self.prediction_layer(state))

    @property
    def to_play(self) -> Callable[[Array], Array] | None:
        """States -> [B, P] logits of who moves; None where it is not learned."""
        head = self.to_play_head
        return None if head is None else lambda state: head(self.transition_layer(state))

    def project(self, state: Array) -> Array:
        """States -> [B, width]: the space in which unrolled and real states are compared."""
        first, second, out = self.projector
        return out(second(first(state)))

    def predict(self, projected: Array) -> Array:
        """[B, width] -> [B, width]: the unrolled side's prediction of the real side's projection."""
        first, out = self.predictor
        return out(first(projected))

    def _per_player(self, logits: Array) -> Array:
        return logits if self.players == 1 else logits.reshape(logits.shape[0], self.players, -1)
