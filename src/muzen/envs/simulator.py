"""A game's own rules for search: states of OpenSpiel, moved on and looked at by the batch."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from muzen.envs.openspiel import PREFIX, OpenSpielEnvironment
from muzen.errors import EnvError, UnsupportedSpaceError
from muzen.types import Situation


class OpenSpielSimulator:
    """The rules of an OpenSpiel game, as `types.Simulator`. A state is a `pyspiel.State`; where a player moves.

    Args:
      name: `openspiel:GAME(parameters)`.

    Raises:
      EnvError: this is no game of OpenSpiel; otherwise as `OpenSpielEnvironment`.
    """

    def __init__(self, name: str):
        if not name.startswith(PREFIX):
            raise EnvError(f"{name}: only the rules of a game named {PREFIX}GAME are known")
        self._env = env = OpenSpielEnvironment(name)
        self._lock = threading.Lock()  # two games on the page may look at once, and the observer has one buffer
        self.name, self.spec, self.game = name, env.spec, env.game
        self._pays_on_the_way = env.game.get_type().reward_model == _rewards()

    def require_no_chance(self) -> None:
        """Refuse a game that cannot be searched by its rules.

        Raises:
          UnsupportedSpaceError: it has chance.
        """
        if self.spec.chance:
            # One outcome for each edge would let a search pick the luckiest one: its values would be no expectation.
            raise UnsupportedSpaceError(f"{self.name}: has chance, and a search with its rules has no chance nodes yet")

    def look(self, states: Sequence[Any] | np.ndarray) -> Situation:
        """What the rules say of [M] states; see `types.Simulator`."""
        return self._situation(list(states), None)

    def step(self, states: Sequence[Any] | np.ndarray, action: np.ndarray) -> Situation:
        """What they say of the states after [M] legal actions; a state that is over stays as it is.

        Raises:
          UnsupportedSpaceError: the game has chance.
        """
        self.require_no_chance()
        following = []
        for state, a in zip(states, action.tolist(), strict=True):
            if not state.is_terminal():
                state = state.clone()
                state.apply_action(a)
            following.append(state)
        return self._situation(following, states)

    def replay(self, actions: Sequence[Sequence[int]] | Sequence[np.ndarray]) -> np.ndarray:
        """[M] states that M lists of actions lead to from the beginning of the game."""
        states = np.empty(len(actions), object)
        for i, line in enumerate(actions):
            states[i] = self.game.new_initial_state()
            for action in line:
                states[i].apply_action(int(action))
        return states

    def history(self, state: Any) -> list[int]:
        """The actions that led to a state from the beginning of the game."""
        return state.history()

    def _situation(self, states: list[Any], before: Sequence[Any] | np.ndarray | None) -> Situation:
        size, spec = len(states), self.spec
        kept = np.empty(size, object)
        kept[:] = states
        observation = np.empty((size, *spec.observation_shape), np.float32)
        reward = np.zeros((size, spec.players), np.float32)
        terminated, to_play = np.zeros(size, bool), np.zeros(size, np.int32)
        legal = np.zeros((size, spec.num_actions), bool)
        for i, state in enumerate(states):
            terminated[i] = over = state.is_terminal()
            last = -1 if before is None or before[i].is_terminal() else before[i].current_player()
            to_play[i] = self._env.mover(state, last)
            if not over:
                legal[i, state.legal_actions()] = True
            with self._lock:
                observation[i] = self._env.observe(state, to_play[i])
            if before is not None and (over or self._pays_on_the_way) and not before[i].is_terminal():
                paid = np.array(before[i].returns()) if self._pays_on_the_way else 0.0
                reward[i] = np.array(state.returns()) - paid
        return Situation(kept, observation, reward, terminated, to_play, legal)


def _rewards() -> Any:
    import pyspiel

    return pyspiel.GameType.RewardModel.REWARDS
