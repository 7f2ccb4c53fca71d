"""One Gymnasium environment with a `Discrete` action space, as the rollout drives it."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from muzen.errors import EnvError, UnsupportedSpaceError
from muzen.types import EnvSpec, TimeStep

# Larger than any vector task, smaller than any screen: an MLP on pixels would train, slowly, to nothing.
MAX_OBSERVATION_SIZE = 4096


class GymnasiumEnvironment:
    """Adapts a `gymnasium.Env`: float32 vectors in, actions 0..A-1 out, both kinds of ending kept apart.

    A `Box` observation is flattened to float32, a `Discrete` one is one-hot. Where the environment gives a
    mask of legal actions (`info["action_mask"]`, or a method `action_masks()`), it is used; otherwise every
    action is legal. Time limits are the environment's own. Nothing here resets by itself.

    Args:
      env: the environment; it is reset once, with seed 0, to see whether it masks actions.
      name: what it is called in messages, and in `spec.id`.
      past_actions: how many of the episode's last actions each observation shows too; see `one_hot_past`.

    Raises:
      UnsupportedSpaceError: the action or observation space is of another kind.
      EnvError: the environment does not follow Gymnasium's interface.
    """

    def __init__(self, env: gymnasium.Env, name: str, past_actions: int = 0):
        self.env = env
        self.name = name
        self._action_space = supported_action_space(env, name)
        self._observation_space = supported_observation_space(env, name)
        start, dtype = int(self._action_space.start), np.dtype(self._action_space.dtype)
        # What `action_space.sample()` would give: some environments test the type.
        self._actions = [dtype.type(start + action) for action in range(int(self._action_space.n))]
        self._discrete = isinstance(self._observation_space, spaces.Discrete)
        self._size = observation_size(self._observation_space)
        self._past: deque[int] = deque(maxlen=past_actions)
        self._all_legal = np.ones(len(self._actions), bool)
        self._all_legal.setflags(write=False)
        self._mask_method = _wrapper_attribute(env, "action_masks")
        self._seed, self._steps, self._ended = 0, 0, True
        _, info = self._reset(0)
        self._ended = True
        self._mask_in_info = isinstance(info, dict) and "action_mask" in info
        self.spec = EnvSpec(
            id=name,
            observation_shape=(self._size + past_actions * len(self._actions),),
            observation_dtype="float32",
            num_actions=len(self._actions),
            discrete_observation=self._discrete,
            max_episode_steps=time_limit(env),
            always_legal=not (self._mask_in_info or self._mask_method),
            past_actions=past_actions,
        )

    @property
    def render_mode(self) -> str | None:
        """How the environment draws itself, or None."""
        return getattr(self.env, "render_mode", None)

    def reset(self, seed: int) -> TimeStep:
        """Starts an episode.

        Raises:
          EnvError: the environment's `reset` takes no seed, or what it gives is not an observation of its space.
        """
        raw, info = self._reset(seed)
        self._past.clear()
        observation = self._observation(raw)
        return TimeStep(observation, np.zeros(1, np.float32), False, False, 0, self._legal(info))

    def step(self, action: int) -> TimeStep:
        """Takes action 0..A-1 and says what it caused; `truncated` is false where the episode also terminated.

        Raises:
          EnvError: the episode is over, the action is out of range, or the environment gives something that
            cannot be learned from (NaN, an infinite number, a wrong shape, the four values of old Gym).
        """
        if self._ended:
            raise EnvError(f"{self.name}: step() without an episode; call reset(seed) first and after every end")
        if not 0 <= action < len(self._actions):
            raise EnvError(f"{self.name}: action {action} is outside 0..{len(self._actions) - 1}")
        outcome = self.env.step(self._actions[action])
        self._steps += 1
        self._past.append(action)
        if not isinstance(outcome, tuple) or len(outcome) != 5:
            raise EnvError(
                f"{self.name}: step() returned {_described(outcome)}; Gymnasium's step returns five values: "
                "observation, reward, terminated, truncated, info. An old Gym environment needs "
                "gymnasium.wrappers or shimmy to convert it"
            )
        raw, reward, terminated, truncated, info = outcome
        terminated = bool(terminated)
        # A time limit that falls on the terminal step cut nothing off: the episode would not have gone on.
        truncated = bool(truncated) and not terminated
        self._ended = terminated or truncated
        return TimeStep(
            self._observation(raw),
            self._reward(reward),
            terminated,
            truncated,
            0,
            self._legal(info, terminated, truncated),
        )

    def render(self) -> Any:
        """A frame as the environment draws it: [height, width, 3] uint8, text, or None."""
        return self.env.render()

    def close(self) -> None:
        """Releases windows and processes; harmless when called again."""
        self._ended = True
        self.env.close()

    def _reset(self, seed: int) -> tuple[Any, Any]:
        try:
            outcome = self.env.reset(seed=int(seed))
        except TypeError as error:
            if "seed" not in str(error):
                raise
            raise EnvError(
                f"{self.name}: reset() takes no seed ({error}); declare reset(self, *, seed=None, options=None) "
                "and begin it with super().reset(seed=seed)"
            ) from error
        if not isinstance(outcome, tuple) or len(outcome) != 2:
            raise EnvError(
                f"{self.name}: reset() returned {_described(outcome)}; Gymnasium's reset returns two: observation, info"
            )
        self._seed, self._steps, self._ended = int(seed), 0, False
        return outcome

    def _observation(self, raw: Any) -> np.ndarray:
        shown = self._shown(raw)
        if self._past.maxlen == 0:
            return shown
        return np.concatenate([shown, one_hot_past(self._past, self.spec.past_actions, self.spec.num_actions)])

    def _shown(self, raw: Any) -> np.ndarray:
        if self._discrete:
            return self._one_hot(raw)
        try:
            # A copy: environments that reuse one array would otherwise rewrite what replay holds.
            observation = np.array(raw, np.float32).reshape(-1)
        except (TypeError, ValueError) as error:
            raise EnvError(
                f"{self.name}: observation {self._when()} is no array of numbers but {_described(raw)}: {error}"
            ) from error
        if observation.shape[0] != self._size:
            raise EnvError(
                f"{self.name}: observation {self._when()} has shape {np.shape(raw)}, but observation_space has "
                f"{self._observation_space.shape}; make the two agree"
            )
        if not np.isfinite(observation).all():
            index = int(np.flatnonzero(~np.isfinite(observation))[0])
            raise EnvError(
                f"{self.name}: observation {self._when()} holds {observation[index]} at index {index} (as float32); "
                "return finite numbers of moderate size, for example through numpy.nan_to_num or numpy.clip"
            )
        return observation

    def _one_hot(self, raw: Any) -> np.ndarray:
        space = self._observation_space
        assert isinstance(space, spaces.Discrete)
        try:
            index = int(raw) - int(space.start)
        except (TypeError, ValueError) as error:
            raise EnvError(
                f"{self.name}: observation {self._when()} is {_described(raw)}, but observation_space {space} "
                "holds integers"
            ) from error
        if not 0 <= index < self._size:
            raise EnvError(f"{self.name}: observation {raw} {self._when()} lies outside observation_space {space}")
        observation = np.zeros(self._size, np.float32)
        observation[index] = 1
        return observation

    def _reward(self, raw: Any) -> np.ndarray:
        try:
            reward = np.array(raw, np.float32).reshape(1)
        except (TypeError, ValueError) as error:
            raise EnvError(f"{self.name}: reward {self._when()} is {_described(raw)}; it must be one number") from error
        if not math.isfinite(reward[0]):
            raise EnvError(
                f"{self.name}: reward {self._when()} is {raw} (as float32 {reward[0]}); "
                "return a finite number from step()"
            )
        return reward

    def _legal(self, info: Any, terminated: bool = False, truncated: bool = False) -> np.ndarray:
        mask = None
        if self._mask_method is not None:
            mask = self._mask_method()
        elif isinstance(info, dict):
            mask = info.get("action_mask")
        if mask is None or terminated:
            if self._mask_in_info and not (terminated or truncated):
                raise EnvError(
                    f"{self.name}: no mask of legal actions {self._when()}, though there was one before; put "
                    '"action_mask" into the info of reset() and of every step()'
                )
            return self._all_legal
        if self.spec.always_legal:
            raise EnvError(
                f"{self.name}: a mask of legal actions {self._when()}, though reset() gave none; put "
                '"action_mask" into the info of reset() and of every step()'
            )
        legal = np.array(mask, bool).reshape(-1)
        if legal.shape[0] != len(self._actions):
            raise EnvError(
                f"{self.name}: the mask of legal actions {self._when()} has {legal.shape[0]} entries for "
                f"{len(self._actions)} actions; give one per action, true where legal"
            )
        if not legal.any():
            if truncated:
                return self._all_legal  # it would have gone on, but nobody says how
            raise EnvError(
                f"{self.name}: no action is legal {self._when()}, but the episode goes on; "
                "end it (terminated=True) where nothing can be done"
            )
        return legal

    def _when(self) -> str:
        return f"after {self._steps} steps of the episode with seed {self._seed}"


def supported_action_space(env: gymnasium.Env, name: str) -> spaces.Discrete:
    """The environment's action space.

    Raises:
      UnsupportedSpaceError: it is not `Discrete`.
    """
    space = getattr(env, "action_space", None)
    if isinstance(space, spaces.Discrete):
        return space
    way_out = "Make the actions a gymnasium.spaces.Discrete"
    if isinstance(space, spaces.Box):
        way_out = "Continuous actions are not supported yet: offer a few fixed ones through an ActionWrapper"
    elif isinstance(space, spaces.MultiDiscrete | spaces.MultiBinary):
        way_out = "Number the combinations, and translate the number back in an ActionWrapper"
    raise UnsupportedSpaceError(
        f"{name}: action space {_described_space(space)} is not supported; supported: Discrete. {way_out}"
    )


def supported_observation_space(env: gymnasium.Env, name: str) -> spaces.Box | spaces.Discrete:
    """The environment's observation space.

    Raises:
      UnsupportedSpaceError: it is neither a `Box` of 1 to `MAX_OBSERVATION_SIZE` numbers nor `Discrete`.
    """
    space = getattr(env, "observation_space", None)
    supported = f"supported: Box (flattened, up to {MAX_OBSERVATION_SIZE} numbers) and Discrete (one-hot)"
    if not isinstance(space, spaces.Box | spaces.Discrete):
        way_out = (
            "Wrap the environment in gymnasium.wrappers.FlattenObservation, in a function that returns it, "
            "and name that function: python:module:function"
        )
        if space is None or not getattr(space, "is_np_flattenable", False):
            way_out = "Turn observations into one vector of numbers through an ObservationWrapper"
        raise UnsupportedSpaceError(
            f"{name}: observation space {_described_space(space)} is not supported; {supported}. {way_out}"
        )
    size = observation_size(space)
    if not 1 <= size <= MAX_OBSERVATION_SIZE:
        way_out = "Images are not supported yet: summarise them through an ObservationWrapper"
        if isinstance(space, spaces.Discrete):
            way_out = "Turn the index into a few numbers, such as a row and a column, through an ObservationWrapper"
        if size == 0:
            way_out = "Declare at least one number"
        raise UnsupportedSpaceError(
            f"{name}: observation space {_described_space(space)} holds {size} numbers; {supported}. {way_out}"
        )
    return space


def observation_size(space: spaces.Box | spaces.Discrete) -> int:
    """Length of the vector that the network sees."""
    return int(space.n) if isinstance(space, spaces.Discrete) else math.prod(space.shape)


def one_hot_past(actions: Iterable[int], count: int, num_actions: int) -> np.ndarray:
    """The last `count` of an episode's actions as a network sees them: one-hot, the newest first.

    Args:
      actions: 0..A-1, the oldest first.
      count: N; entries before the first action are 0.
      num_actions: A.

    Returns: [N A] float32.

    Source: MuZero, arXiv:1911.08265, appendix E, which shows the network 32 past actions on Atari.
    """
    last = list(actions)[::-1][:count]
    seen = np.zeros((count, num_actions), np.float32)
    seen[np.arange(len(last)), last] = 1
    return seen.reshape(-1)


def time_limit(env: gymnasium.Env) -> int | None:
    """The smallest time limit declared, in environment steps, or None."""
    limits = []
    layer: Any = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, gymnasium.wrappers.TimeLimit):
            limits.append(layer._max_episode_steps)
        layer = layer.env
    declared = getattr(getattr(env, "spec", None), "max_episode_steps", None)
    if declared is not None:
        limits.append(declared)
    return min(limits) if limits else None


def _wrapper_attribute(env: gymnasium.Env, name: str) -> Any:
    try:
        attribute = env.get_wrapper_attr(name)
    except AttributeError:
        return None
    return attribute if callable(attribute) else None


def _described(value: Any) -> str:
    if isinstance(value, tuple):
        return f"a tuple of {len(value)} values"
    return f"{type(value).__name__} {str(value)[:60]}"


def _described_space(space: Any) -> str:
    text = str(space)
    if isinstance(space, spaces.Box):
        text = f"Box(shape={space.shape}, dtype={space.dtype})"
    return text if len(text) <= 120 else f"{type(space).__name__} ({text[:100]}...)"
