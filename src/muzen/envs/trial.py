"""Random play that writes down everything an environment does, for `muzen check` to judge."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np

from muzen.envs.gymnasium import GymnasiumEnvironment
from muzen.errors import EnvError
from muzen.types import Environment, TimeStep

# Observations kept for statistics; more would say the same and could fill the memory.
_KEPT_OBSERVATIONS = 5000


@dataclass
class Trial:
    """What random play showed.

    Attributes:
      steps: environment steps taken.
      step_seconds: wall-clock inside the environment's own `step`.
      failure: what stopped the play, or "".
      rewards: [steps] of the first player, environment units.
      returns: [P] of the episode that was still going on at the end.
      outcomes: [P] returns of each finished episode.
      lengths: environment steps of each finished episode.
      terminated: of each finished episode, whether it ended by the task's own rule.
      unfinished: steps of the episode that was still going on at the end.
      observations: [N, size] float32, as the network sees them.
      outside: the first observation outside its space, in words, or "".
      dtypes: dtypes of observations that the space's dtype cannot hold.
      rewritten: whether an observation changed after it was returned.
      flags: types of `terminated` and `truncated` other than bool.
      legal_share: mean share of legal actions.
    """

    steps: int = 0
    step_seconds: float = 0.0
    failure: str = ""
    rewards: list[float] = field(default_factory=list)
    returns: np.ndarray = field(default_factory=lambda: np.zeros(1))
    outcomes: list[list[float]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    terminated: list[bool] = field(default_factory=list)
    unfinished: int = 0
    observations: list[np.ndarray] = field(default_factory=list)
    outside: str = ""
    dtypes: set[str] = field(default_factory=set)
    rewritten: bool = False
    flags: set[str] = field(default_factory=set)
    legal_share: float = 1.0


class _Witness(gymnasium.Wrapper):
    """Sees what the environment returns before any adaptor makes it presentable."""

    def __init__(self, env: gymnasium.Env, trial: Trial):
        super().__init__(env)
        self.trial = trial
        self._previous: tuple[np.ndarray, np.ndarray] | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        outcome = self.env.reset(seed=seed)
        if isinstance(outcome, tuple) and len(outcome) == 2:
            self._see(outcome[0])
        return outcome

    def step(self, action: Any) -> Any:
        began = time.perf_counter()
        outcome = self.env.step(action)
        self.trial.step_seconds += time.perf_counter() - began
        self.trial.steps += 1
        if isinstance(outcome, tuple) and len(outcome) == 5:
            self._see(outcome[0])
            self.trial.flags |= {type(x).__name__ for x in outcome[2:4] if not isinstance(x, bool | np.bool_)}
        return outcome

    def _see(self, observation: Any) -> None:
        if self._previous is not None:
            array, copy = self._previous
            if not np.array_equal(array, copy, equal_nan=array.dtype.kind == "f"):
                self.trial.rewritten = True
        self._previous = (observation, observation.copy()) if isinstance(observation, np.ndarray) else None
        space = self.env.observation_space
        if self.trial.outside or space is None or space.contains(observation):
            return
        array = np.asarray(observation)
        if space.dtype is not None and array.dtype.kind in "biuf" and not np.can_cast(array.dtype, space.dtype):
            self.trial.dtypes.add(str(array.dtype))
            if array.shape != space.shape or space.contains(array.astype(space.dtype)):
                return
        self.trial.outside = self._where_outside(array)

    def _where_outside(self, array: np.ndarray) -> str:
        space = self.env.observation_space
        if not isinstance(space, gymnasium.spaces.Box) or array.shape != space.shape:
            return f"{str(array)[:60]} is not in {str(space)[:80]}"
        bad = np.argwhere((array < space.low) | (array > space.high))
        if not len(bad):  # NaN compares with nothing
            return ""
        index = tuple(int(i) for i in bad[0])
        where = index[0] if len(index) == 1 else index
        return f"{array[index]:.6g} at index {where} is outside {space.low[index]:.6g} to {space.high[index]:.6g}"


class _Timed:
    """Counts and times the steps of an environment that follows Muzen's own protocol."""

    def __init__(self, env: Environment, trial: Trial):
        self.env, self.trial, self.spec = env, trial, env.spec

    def reset(self, seed: int) -> TimeStep:
        return self.env.reset(seed)

    def step(self, action: int) -> TimeStep:
        began = time.perf_counter()
        outcome = self.env.step(action)
        self.trial.step_seconds += time.perf_counter() - began
        self.trial.steps += 1
        return outcome


def play_randomly(env: gymnasium.Env | Environment, name: str, *, steps: int, seconds: float, seed: int) -> Trial:
    """Plays random legal actions and writes down what happens; whatever the environment raises ends the play.

    Args:
      env: the environment; left open.
      name: what it is called in messages.
      steps: environment steps, at most.
      seconds: wall-clock, at most, looked at between steps.
      seed: of the actions, and of the first episode; the following episodes count up.
    """
    trial = Trial()
    rng = np.random.default_rng(seed)

    def play() -> None:
        if isinstance(env, gymnasium.Env):
            adapted = GymnasiumEnvironment(_Witness(env, trial), name)
        else:
            adapted = _Timed(env, trial)
        deadline = time.perf_counter() + seconds
        shares: list[float] = []
        trial.returns = np.zeros(adapted.spec.players)
        now, length = adapted.reset(seed), 0
        while trial.steps < steps and time.perf_counter() < deadline:
            if len(trial.observations) < _KEPT_OBSERVATIONS:
                trial.observations.append(now.observation)
            legal = np.flatnonzero(now.legal)
            shares.append(len(legal) / adapted.spec.num_actions)
            # Every action once, in order, before chance decides.
            action = trial.steps if trial.steps in legal else int(rng.choice(legal))
            now, length = adapted.step(action), length + 1
            trial.rewards.append(float(now.reward[0]))
            trial.returns += now.reward
            if now.terminated or now.truncated:
                trial.lengths.append(length)
                trial.terminated.append(now.terminated)
                trial.outcomes.append(trial.returns.tolist())
                trial.returns = np.zeros(adapted.spec.players)
                now, length = adapted.reset(seed + len(trial.lengths)), 0
        trial.unfinished = length
        trial.legal_share = float(np.mean(shares)) if shares else 1.0

    trial.failure = failure_of(play, trial)
    return trial


def failure_of(play: Callable[[], Any], trial: Trial | None = None) -> str:
    """Runs code of the user's; what it raised, in words, or ""."""
    try:
        play()
    except EnvError as error:
        return str(error)
    except Exception as error:  # the environment is the user's code: anything may come out of it
        when = "" if trial is None else f" after {trial.steps} steps"
        return f"it raised {type(error).__name__}{when}: {error}"
    return ""


def trajectory(env: Environment, seed: int, steps: int) -> list[TimeStep]:
    """One episode's beginning, at most `steps` long; the actions depend on nothing but the legal masks."""
    rng = np.random.default_rng(0)
    path = [env.reset(seed)]
    while len(path) <= steps and not (path[-1].terminated or path[-1].truncated):
        path.append(env.step(int(rng.choice(np.flatnonzero(path[-1].legal)))))
    return path


def first_difference(one: list[TimeStep], other: list[TimeStep]) -> int | None:
    """The first step at which two trajectories differ, 0 for the start; None where they are equal."""
    for t, (a, b) in enumerate(zip(one, other, strict=False)):
        if not np.array_equal(a.observation, b.observation) or not np.array_equal(a.reward, b.reward):
            return t
        if (a.terminated, a.truncated) != (b.terminated, b.truncated):
            return t
    return None if len(one) == len(other) else min(len(one), len(other))
