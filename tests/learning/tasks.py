"""Small tasks whose answers are known exactly, as Gymnasium environments, and what a run learned of them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gymnasium
import jax
import numpy as np

import muzen
from muzen.agent import Agent
from muzen.config import override
from muzen.envs import env_name, make, spec_of
from muzen.presets import preset

SWEEPS = 1_000
# Small and quick to learn with; where a task wants another setting, it says so.
SMALL = {
    "act.environments": 8,
    "network.width": 32,
    "learn.samples_per_step": 64.0,
    "learn.batch_size": 64,
    "learn.learning_rate": 5e-3,
    "evaluate.episodes": 4,
    "evaluate.curve_points": 0,
    "checkpoint_minutes": 100.0,
}


@dataclass(frozen=True)
class Tabular:
    """A deterministic task with M states and A actions.

    Attributes:
      following: [M, A] int the state that an action leads to.
      reward: [M, A] what it pays.
      ends: [M, A] true where it ends the episode.
      starts: states that episodes begin in, each as often.
      limit: steps after which an episode is cut off.
      limit_ends: the limit is told as a termination, which it is not.
    """

    following: np.ndarray
    reward: np.ndarray
    ends: np.ndarray
    starts: tuple[int, ...]
    limit: int
    limit_ends: bool = False

    def scaled(self, factor: float) -> Tabular:
        """The same task, paid in another currency."""
        return replace(self, reward=self.reward * factor)

    def optimal(self, gamma: float) -> np.ndarray:
        """[M, A] optimal values of the actions, by value iteration; a time limit takes nothing from them."""
        q = np.zeros(self.reward.shape)
        for _ in range(SWEEPS):
            q = self.reward + gamma * ~self.ends * q.max(1)[self.following]
        return q

    def maker(self) -> Callable[[], gymnasium.Env]:
        """What `muzen.train` takes."""
        return functools.partial(TabularEnv, self)


class TabularEnv(gymnasium.Env):
    """Walks a `Tabular` task, and shows the number of the state."""

    def __init__(self, task: Tabular):
        self.task = task
        states, actions = task.reward.shape
        self.observation_space = gymnasium.spaces.Discrete(states)
        self.action_space = gymnasium.spaces.Discrete(actions)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state, self.steps = int(self.np_random.choice(self.task.starts)), 0
        return self.state, {}

    def step(self, action):
        task, before, self.steps = self.task, self.state, self.steps + 1
        self.state = int(task.following[before, action])
        over = self.steps >= task.limit
        ended = bool(task.ends[before, action]) or (over and task.limit_ends)
        return self.state, float(task.reward[before, action]), ended, over, {}


def random_task(seed: int, states: int = 6, actions: int = 3) -> Tabular:
    """Each action permutes the states, so that random play sees all of them; one step in six ends the episode."""
    random = np.random.default_rng(seed)
    return Tabular(
        following=np.stack([random.permutation(states) for _ in range(actions)], axis=1),
        reward=random.integers(-2, 4, size=(states, actions)).astype(float),
        ends=random.random((states, actions)) < 1 / 6,
        starts=tuple(range(states)),
        limit=10,
    )


def corridors(length: int) -> Tabular:
    """The first action picks one of two corridors; both actions walk on; only the end of the right one pays, 1."""
    count = 1 + 2 * length
    onward = np.minimum(np.arange(count) + 2, count - 1)
    following = np.stack([onward, onward], axis=1)
    following[0] = 1, 2
    reward, ends = np.zeros((count, 2)), np.zeros((count, 2), bool)
    reward[-1], ends[-2:] = 1.0, True
    return Tabular(following, reward, ends, starts=(0,), limit=10 * length)


def patience(length: int) -> Tabular:
    """The second action, taken so many times in a row, ends the episode and pays 1; the first begins anew."""
    following = np.stack([np.zeros(length, int), np.minimum(np.arange(length) + 1, length - 1)], axis=1)
    reward, ends = np.zeros((length, 2)), np.zeros((length, 2), bool)
    reward[-1, 1], ends[-1, 1] = 1.0, True
    return Tabular(following, reward, ends, starts=(0,), limit=10 * length)


class Hidden(gymnasium.ObservationWrapper):
    """A task that shows the same in every state."""

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.observation_space = gymnasium.spaces.Discrete(1)

    def observation(self, observation: Any) -> int:
        return 0


def learned(env: Any, out: Path, settings: dict[str, Any]) -> muzen.Run:
    """A run with its environment's preset but for `SMALL` and the settings given."""
    return muzen.train(env, config=override(preset(env_name(env), spec_of(env)), SMALL | settings), out=out)


@dataclass(frozen=True)
class Solved:
    """Every reachable position of an OpenSpiel game of two in which a move is to be made, and what is true of it."""

    observation: np.ndarray  # [M, ...]
    legal: np.ndarray  # [M, A]
    mover: np.ndarray  # [M]
    value: np.ndarray  # [M, 2] with best play of both
    best: np.ndarray  # [M, A] true for the moves that lose nothing
    reward: np.ndarray  # [M, A, 2] what a move pays at once
    over: np.ndarray  # [M, A] true where it ends the game

    @classmethod
    def of(cls, name: str) -> Solved:
        """By OpenSpiel's own minimax solver."""
        from open_spiel.python.algorithms.get_all_states import get_all_states
        from open_spiel.python.algorithms.minimax_solver import MinimaxSolver

        env = make(name)
        states = get_all_states(env.game, to_string=str)
        positions = {text: state for text, state in states.items() if not state.is_terminal()}
        shown = []
        for state in positions.values():
            now = env.reset(0)
            for action in state.history():
                now = env.step(action)
            shown.append(now)
        legal, mover = np.stack([now.legal for now in shown]), np.array([now.to_play for now in shown], np.int32)
        solved = MinimaxSolver(name.removeprefix("openspiel:")).solve()
        own = np.array([solved[text].value for text in positions])  # of whoever moves
        best = np.array([solved[text].action_values for text in positions]) > own[:, None] - 1e-6
        reward, over = np.zeros((*legal.shape, 2)), np.zeros(legal.shape, bool)
        for at, state in enumerate(positions.values()):
            for action in state.legal_actions():
                below = state.child(action)
                if below.is_terminal():
                    reward[at, action], over[at, action] = below.returns(), True
        value = np.where(np.arange(2) == mover[:, None], own[:, None], -own[:, None])
        return cls(np.stack([now.observation for now in shown]), legal, mover, value, best, reward, over)


@dataclass(frozen=True)
class Expected:
    """Every position of a small OpenSpiel game of two with chance in which a move is to be made, and its exact values.

    Positions are told apart by what OpenSpiel writes of them, which must say all but how long the game has lasted.
    """

    observation: np.ndarray  # [M, ...]
    mover: np.ndarray  # [M]
    value: np.ndarray  # [M] in the view of whoever moves, with best play of both
    q: np.ndarray  # [M, A] of each move in the same view, chance averaged out; NaN where illegal

    @classmethod
    def of(cls, name: str) -> Expected:
        """By value iteration over the graph of positions, chance nodes among them."""
        env = make(name)
        first = env.game.new_initial_state()
        found, new = {str(first): first}, [first]
        while new:
            state = new.pop()
            for action in state.legal_actions():
                child = state.child(action)
                if str(child) not in found:
                    found[str(child)] = child
                    new.append(child)
        below = {text: [str(state.child(a)) for a in state.legal_actions()] for text, state in found.items()}
        value = {text: state.returns()[0] for text, state in found.items()}  # player 0's
        for _ in range(SWEEPS):
            for text, state in found.items():
                if state.is_chance_node():
                    shares = dict(state.chance_outcomes())
                    value[text] = sum(shares[a] * value[b] for a, b in zip(shares, below[text], strict=True))
                elif not state.is_terminal():
                    value[text] = (max, min)[state.current_player()](value[b] for b in below[text])
        moving = {t: s for t, s in found.items() if not s.is_terminal() and not s.is_chance_node()}
        mover = np.array([state.current_player() for state in moving.values()], np.int32)
        sign = 1 - 2 * mover
        q = np.full((len(moving), env.spec.num_actions), np.nan)
        for at, (text, state) in enumerate(moving.items()):
            q[at, state.legal_actions()] = [sign[at] * value[b] for b in below[text]]
        observation = np.stack([env.observe(s, s.current_player()) for s in moving.values()])
        return cls(observation, mover, sign * np.array([value[text] for text in moving]), q)


@dataclass(frozen=True)
class Learned:
    """What an agent makes of every state of a `Tabular` task, by its network and by its search."""

    value: np.ndarray  # [M] the network's
    prior: np.ndarray  # [M, A] the network's policy
    search_value: np.ndarray  # [M]
    action: np.ndarray  # [M] greedy

    @classmethod
    def of(cls, agent: Agent, every: np.ndarray | None = None) -> Learned:
        """Asks it for all states at once; `every` is what each shows, [M, ...], its own number if left out."""
        if every is None:
            every = np.eye(agent.spec.observation_shape[0], dtype=np.float32)
        states, actions = len(every), agent.spec.num_actions
        said = agent.model.initial(every)
        plan = agent.planner.plan(
            agent.model, every, np.ones((states, actions), bool), np.zeros(states, np.int32), jax.random.key(0)
        )
        prior = np.asarray(jax.nn.softmax(said.policy_logits))
        return cls(np.asarray(said.value)[:, 0], prior, plan.value[:, 0], plan.action)


def unrolled(agent: Agent, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The learned model along sequences of actions from every state.

    Args:
      actions: [S, K] sequences.

    Returns:
      reward, discount: [M, S, K] of each step.
    """
    states, (sequences, length) = agent.spec.observation_shape[0], actions.shape
    start = np.repeat(np.eye(states, dtype=np.float32), sequences, axis=0)
    said, found = agent.model.initial(start), []
    for k in range(length):
        said = agent.model.recurrent(said.state, np.tile(actions[:, k], states).astype(np.int32))
        found.append([np.asarray(x).reshape(states, sequences) for x in (said.reward, said.discount)])
    reward, discount = np.moveaxis(np.array(found), 0, -1)
    return reward, discount
