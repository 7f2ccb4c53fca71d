"""The words that every part of Muzen shares: specifications, time steps, predictions, search results.

Axes, in every docstring: B batch, T time, K unrolled steps, A actions, N tree nodes, P players.
A mask says what *true* means. Row t holds o_t, a_t and what a_t caused: r_{t+1}, γ_{t+1}, and whether
the episode terminated or was truncated there. Rewards and values are per player, [.., P]; nothing ever
flips a sign: backup adds vectors and selection reads the entry of whoever moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np

Array = jax.Array | np.ndarray
State = Any  # a pytree of arrays with leading axis B


@dataclass(frozen=True)
class EnvSpec:
    """What Muzen needs to know of an environment before it builds anything.

    Attributes:
      id: the name it was asked for by.
      observation_shape: shape of one observation as the network sees it (a `Discrete` observation is one-hot).
      observation_dtype: numpy dtype name of a stored observation.
      num_actions: A; actions are 0..A-1 inside Muzen, whatever the environment's own `start`.
      players: P.
      discrete_observation: true if the environment's observation is an index, one-hot encoded by the adaptor.
      max_episode_steps: the time limit in environment steps, or None where none is declared.
      always_legal: true if every action is legal in every state.
      zero_sum: of two players, true if one gains what the other loses; says nothing of other numbers of players.
      alternating: true if players move strictly in turn; otherwise who moves next must be learned.
      chance: of a game, true if anything but the players' moves decides how it goes on.
      largest_return: largest |return| that a player of a game can have, or None where it is not known.
      directions: of a game, true if actions 0 to 3 are up, right, down, left on a square board.
      past_actions: how many of the episode's last actions stand, one-hot, at the end of every observation.
    """

    id: str
    observation_shape: tuple[int, ...]
    observation_dtype: str
    num_actions: int
    players: int = 1
    discrete_observation: bool = False
    max_episode_steps: int | None = None
    always_legal: bool = True
    zero_sum: bool = True
    alternating: bool = True
    chance: bool = False
    largest_return: float | None = None
    directions: bool = False
    past_actions: int = 0


class Symmetry(NamedTuple):
    """A way to turn a game round that changes none of its rules.

    Entry i of the turned observation, flattened, is entry `observation[i]` of the observation; action a becomes
    `action[a]`, and player p `player[p]`: players may change places.
    """

    observation: np.ndarray  # [size] int
    action: np.ndarray  # [A] int
    player: np.ndarray  # [P] int


class TimeStep(NamedTuple):
    """What an environment says after a reset or a step.

    `reward` is [P] float32, for the step that led here (zeros after a reset). `legal` is [A] bool.
    `terminated` means that the episode ended by the task's own rule, `truncated` that it was cut
    off (a time limit) and would have gone on. `state` is a game's own state, which nobody changes, for
    searches with its rules; None where the environment has none to give.
    """

    observation: np.ndarray
    reward: np.ndarray
    terminated: bool
    truncated: bool
    to_play: int
    legal: np.ndarray
    state: Any = None


class Environment(Protocol):
    """One environment, as the rollout drives it. It never resets itself."""

    spec: EnvSpec

    def reset(self, seed: int) -> TimeStep:
        """Begin an episode; one seed, 0 or more, gives one episode for the same actions."""
        ...

    def step(self, action: int) -> TimeStep:
        """Take a legal action, 0..A-1, and give what follows; not after the episode's end.

        Raises:
          EnvError: the episode is over, the action is out of range, or the answer cannot be learned from.
        """
        ...

    def close(self) -> None:
        """Let go of what it holds; more than once does no harm."""
        ...


class Prediction(NamedTuple):
    """What a model says of B states."""

    reward: Array  # [B, P] for the step that led here; 0 at the root
    discount: Array  # [B] γ, 0 where the episode ends
    to_play: Array  # [B] int32, who moves next
    legal: Array  # [B, A] true where the action is legal; all true where the model can't know
    value: Array  # [B, P]
    policy_logits: Array  # [B, A]
    state: State  # pytree, leading axis B


@runtime_checkable
class Model(Protocol):
    """Everything that search needs to know of a model."""

    def initial(self, observation: Array, to_play: Array | None = None) -> Prediction:
        """h then f: the root of B searches from [B, ...] observations; `to_play` [B] says who moves, where known."""
        ...

    def recurrent(self, state: State, action: Array) -> Prediction:
        """g then f: the B states after [B] int32 actions."""
        ...


@runtime_checkable
class HostModel(Protocol):
    """A model that answers in Python, outside any XLA program: a game's own rules, a simulator, a remote network.

    Its states are NumPy arrays with leading axis B, of objects (dtype object) where a state is a handle to something.
    A state stays in the tree and may be expanded again: never change one, return new ones.
    """

    def expand(self, state: State, action: np.ndarray) -> Prediction:
        """The M states after [M] int32 actions, M the number of the B trees that have a new leaf (1..B)."""
        ...


class Situation(NamedTuple):
    """What a game's rules say of M of its states: a `Prediction` without opinions."""

    state: np.ndarray  # [M] objects, never changed
    observation: np.ndarray  # [M, ...] as the environment shows it to the player to move
    reward: np.ndarray  # [M, P] float32 for the move that led here; 0 where none did
    terminated: np.ndarray  # [M] bool
    to_play: np.ndarray  # [M] int32
    legal: np.ndarray  # [M, A] bool; all false where the game is over


class Simulator(Protocol):
    """A game's own rules, on many states at once. A state that is over stays as it is, whatever is played."""

    def look(self, states: Sequence[Any] | np.ndarray) -> Situation:
        """What the rules say of [M] states."""
        ...

    def step(self, states: Sequence[Any] | np.ndarray, action: np.ndarray) -> Situation:
        """Of the states after [M] legal actions; the given ones are left as they are."""
        ...

    def replay(self, actions: Sequence[Sequence[int]] | Sequence[np.ndarray]) -> np.ndarray:
        """[M] states that M lists of actions lead to from the beginning of the game."""
        ...

    def history(self, state: Any) -> list[int]:
        """The actions that led to a state from the beginning of the game."""
        ...


class SearchResult(NamedTuple):
    """What a search says of B roots.

    Attributes:
      action: [B] int32 the action to take.
      policy: [B, A] float32 the improved policy, the learner's policy target; exactly 0 where illegal.
      value: [B, P] float32 visit mean of the root, the root's own network value included; from a `Planner` or an
        `Agent` whose `root_value` is "policy", the mean of q under the improved policy.
      visits: [B, A] int32 visits of each root action.
      q: [B, A] float32 r + γV of each root action in the view of the player to move; where
        unvisited, the value that the rule completes it with.
      tree: the whole tree, for reuse and for drawing.
    """

    action: Array
    policy: Array
    value: Array
    visits: Array
    q: Array
    tree: Any
