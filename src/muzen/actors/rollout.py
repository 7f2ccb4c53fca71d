"""The rollout: E environments stepped together, each decision by one batched search.

The same code serves every schedule (one process, threads, a cluster): it is given a `plan` function and
returns rows; it knows nothing of replay, learners or weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from muzen.envs import episode_seed
from muzen.errors import EnvError
from muzen.replay import Rows
from muzen.types import Environment, TimeStep

# Tells the random numbers of an episode's opening from those of its environment, which have the same seed.
_OPENING = 1
# The same for whether it is played on where a player would resign.
_PLAYS_ON = 2


class Plan(NamedTuple):
    """What a search decided for E observations, as numpy arrays."""

    action: np.ndarray  # [E] int32
    policy: np.ndarray  # [E, A] float32 improved policy
    value: np.ndarray  # [E, P] float32 search value
    tree: Any = None  # of a search that the next one may go on from


class Ended(NamedTuple):
    """An episode that ended in this step of the rollout."""

    episode: int
    episode_return: np.ndarray  # [P] undiscounted
    length: int
    terminated: bool
    resigned: bool = False
    hopeless: int = -1  # player who would have resigned if the game had not been played on; -1: nobody


class Rollout:
    """E environments and where each of them stands.

    Autoreset is off. When an episode ends, its environment spends one more turn on the last observation
    (a `final` row: it is searched, so that a time limit can bootstrap from its value), and only then resets.

    Args:
      make: makes one environment.
      environments: E.
      seed: the run's seed; every episode's own seed derives from (seed, worker, environment, episode).
      worker: number of this worker.
      random_openings: share of episodes that begin with random legal moves, 1 to `opening_moves` of them.
      opening_moves: see there.
      resign_below: a player whose search value is below this resigns; 0: nobody does. Only in zero-sum games of two.
      resign_never: share of episodes that are played on all the same.
    """

    def __init__(
        self,
        make: Callable[[], Environment],
        environments: int,
        seed: int,
        worker: int = 0,
        *,
        random_openings: float = 0.0,
        opening_moves: int = 0,
        resign_below: float = 0.0,
        resign_never: float = 0.0,
    ):
        self.envs: Sequence[Environment] = [make() for _ in range(environments)]
        self.spec = self.envs[0].spec
        self._seed, self._worker = seed, worker
        self._random_openings, self._opening_moves = random_openings, opening_moves
        self._resign_below, self._resign_never = resign_below, resign_never
        self._plays_on = [False] * environments
        self._resigned, self._hopeless = [-1] * environments, [-1] * environments
        self._openings: list[list[float]] = [[] for _ in range(environments)]
        self._episode = [-1] * environments
        self._actions: list[list[int]] = [[] for _ in range(environments)]
        self._return = np.zeros((environments, self.spec.players))
        self._now: list[TimeStep] = []
        for i in range(environments):
            self._now.append(self._reset(i))

    def __len__(self) -> int:
        return len(self.envs)

    def _reset(self, i: int) -> TimeStep:
        self._episode[i] += 1
        self._actions[i] = []
        self._return[i] = 0
        seed = episode_seed(self._seed, self._worker, i, self._episode[i])
        self._openings[i] = self._opening(seed)
        self._plays_on[i] = np.random.default_rng([seed, _PLAYS_ON]).random() < self._resign_never
        self._resigned[i] = self._hopeless[i] = -1
        return self.envs[i].reset(seed)

    def _opening(self, seed: int) -> list[float]:
        """Where in the list of legal actions, from 0 to 1, each random first move lies: a matter of the seed alone."""
        random = np.random.default_rng([seed, _OPENING])
        if self._opening_moves < 1 or random.random() >= self._random_openings:
            return []
        return random.random(random.integers(1, self._opening_moves, endpoint=True)).tolist()

    def _number(self, i: int) -> int:
        """Unique number of environment i's present episode."""
        return self._episode[i] * len(self.envs) + i

    @property
    def observation(self) -> np.ndarray:
        """[E, ...] what each environment shows now."""
        return np.stack([now.observation for now in self._now])

    @property
    def legal(self) -> np.ndarray:
        """[E, A] true where legal; all true after a termination, for a search needs a legal action."""
        legal = np.stack([now.legal for now in self._now])
        # A cut episode would have gone on: its last position is searched with its own moves.
        nothing = np.array([now.terminated for now in self._now]) | ~legal.any(1)
        return legal | nothing[:, None]

    @property
    def to_play(self) -> np.ndarray:
        """[E] int32 who moves now."""
        return np.array([now.to_play for now in self._now], np.int32)

    @property
    def states(self) -> list[Any]:
        """[E] each game's own state, or None where the environment has none to give."""
        return [now.state for now in self._now]

    @property
    def moves(self) -> np.ndarray:
        """[E] moves made so far in each episode, by all players."""
        return np.array([len(actions) for actions in self._actions])

    def step(self, plan: Plan, *, resign: bool = True) -> tuple[Rows, int, list[Ended]]:
        """Take one planned action in every environment that is in mid-episode; close and reset the others.

        A player who resigns still makes its move; then the episode is cut off, and its final row has the value of a
        game lost by that player. (A move that ended the game would teach a learned model an end that is none.)

        Args:
          plan: for `observation`, `legal` and `to_play` as they stand now.
          resign: whether players may resign now.

        Returns:
          The rows, the number of environment steps taken (closing an episode is none), and the episodes that ended.
        """
        size = len(self.envs)
        observation, legal, to_play = self.observation, self.legal, self.to_play
        reward = np.zeros((size, self.spec.players), np.float32)
        terminated, truncated, final, settled = (np.zeros(size, bool) for _ in range(4))
        action, value = np.zeros(size, np.int32), plan.value
        episode = np.array([self._number(i) for i in range(size)])
        ended: list[Ended] = []
        steps = 0
        for i, env in enumerate(self.envs):
            if self._now[i].terminated or self._now[i].truncated:
                final[i] = True
                if self._resigned[i] >= 0:
                    value = value.copy() if value is plan.value else value
                    value[i] = self._lost_by(self._resigned[i])
                    settled[i] = True
                self.begin_anew(i)
                continue
            action[i] = plan.action[i]
            if (move := len(self._actions[i])) < len(self._openings[i]):
                possible = np.flatnonzero(legal[i])
                action[i] = possible[int(self._openings[i][move] * len(possible))]
            elif resign and plan.value[i, to_play[i]] < self._resign_below < 0:
                self._give_up(i, int(to_play[i]))
            now = env.step(int(action[i]))
            self._actions[i].append(int(action[i]))
            self._return[i] += now.reward
            if now.terminated:
                self._resigned[i] = -1
            elif self._resigned[i] >= 0:
                now = now._replace(truncated=True)
                self._return[i] += self._lost_by(self._resigned[i])
            self._now[i] = now
            reward[i], terminated[i], truncated[i] = now.reward, now.terminated, now.truncated
            steps += 1
            if now.terminated or now.truncated:
                told = self._resigned[i] >= 0, self._hopeless[i]
                total, length = self._return[i].copy(), len(self._actions[i])
                ended.append(Ended(int(episode[i]), total, length, now.terminated, *told))
        rows = Rows(
            observation,
            action,
            reward,
            terminated,
            truncated,
            final,
            to_play,
            legal,
            plan.policy,
            value,
            episode,
            settled,
        )
        return rows, steps, ended

    def _give_up(self, i: int, player: int) -> None:
        """Note that a player would resign: it does, or it is the first one in a game that is played on."""
        if not self._plays_on[i]:
            self._resigned[i] = player
        elif self._hopeless[i] < 0:
            self._hopeless[i] = player

    def _lost_by(self, player: int) -> np.ndarray:
        """[P] returns of a game of two that `player` has lost."""
        most = self.spec.largest_return or 0.0
        return np.where(np.arange(self.spec.players) == player, -most, most)

    def state(self) -> dict[str, Any]:
        """What is needed to stand here again: each environment's episode number and what was done in it."""
        return {
            "episode": list(self._episode),
            "actions": [list(a) for a in self._actions],
            "resigned": list(self._resigned),
            "hopeless": list(self._hopeless),
        }

    def restore(self, state: dict[str, Any]) -> dict[int, str]:
        """Replay the unfinished episodes from their seeds and actions.

        Returns:
          What was wrong with each environment that did not follow its own seed: it ended early, or refused an action.
          The caller compares `observation` with what was stored, and has those that differ `begin_anew`.
        """
        if len(state["episode"]) != len(self.envs):
            raise EnvError(
                f"act.environments: the run has {len(state['episode'])}, asked for {len(self.envs)}; "
                "resume with the same number"
            )
        nobody = [-1] * len(self.envs)  # runs from before there was resigning say nothing of it
        broken: dict[int, str] = {}
        for i, (episode, actions) in enumerate(zip(state["episode"], state["actions"], strict=True)):
            self._episode[i] = episode - 1
            self.begin_anew(i)
            for t, action in enumerate(actions):
                if self._now[i].terminated or self._now[i].truncated:
                    broken[i] = f"environment {i} ended after {t} of {len(actions)} stored actions"
                    break
                try:
                    self._now[i] = self.envs[i].step(action)
                except Exception as error:  # the user's code: an action that was legal may not be any more
                    broken[i] = f"environment {i} refused stored action {t}: {error!r}"
                    break
                self._actions[i].append(action)
                self._return[i] += self._now[i].reward
            self._hopeless[i] = state.get("hopeless", nobody)[i]
            if state.get("resigned", nobody)[i] >= 0:
                self._resigned[i] = state["resigned"][i]
                self._now[i] = self._now[i]._replace(truncated=True)
                self._return[i] += self._lost_by(self._resigned[i])
        return broken

    def begin_anew(self, i: int) -> None:
        """Leave environment i's episode for its next one."""
        self._now[i] = self._reset(i)

    @property
    def over(self) -> np.ndarray:
        """[E] true where an episode has ended, and only its final row is missing."""
        return np.array([now.terminated or now.truncated for now in self._now])

    def close(self) -> None:
        """Close every environment."""
        for env in self.envs:
            env.close()
