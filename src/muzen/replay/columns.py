"""What replay stores of a row, how many bytes that takes, and how many rows a budget holds."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from muzen.config import ReplayConfig
from muzen.errors import ConfigError
from muzen.replay.sum_tree import inner_nodes, make_tree
from muzen.types import EnvSpec

CHUNK_BYTES = 8 * 2**20
# Bounds the number of files, and of dirty marks, of a replay of any size.
MOST_CHUNKS = 1024

TERMINATED = 1  # the row's action ended the episode by the task's rule
TRUNCATED = 2  # the episode was cut off after the row's action
FINAL = 4  # the row holds only an episode's last observation; TERMINATED and TRUNCATED say how the episode ended
SETTLED = 8  # the value of a final row is known, and no search's


# places in Lanes.counts and Lanes.range
STEPS, EPISODES, CURSOR = 0, 1, 2
MAX_REWARD, MIN_RETURN, MAX_RETURN, MAX_WEIGHT = 0, 1, 2, 3


class Columns(NamedTuple):
    """Every stored row, by flat place `lane * capacity + sequence % capacity`; R places in all."""

    observation: np.ndarray  # [R, bytes] uint8, o_t as raw bytes
    action: np.ndarray  # [R] int32 a_t
    reward: np.ndarray  # [R, P] float32 r_{t+1}
    flags: np.ndarray  # [R] uint8, of TERMINATED, TRUNCATED, FINAL and SETTLED
    to_play: np.ndarray  # [R] int8
    legal: np.ndarray  # [R, A] bool; [R, 0] where every action is always legal
    episode: np.ndarray  # [R] int64
    step: np.ndarray  # [R] int64, environment steps that replay had seen before the row
    policy: np.ndarray  # [R, A] float32 search policy; all 0 where no search was made
    value: np.ndarray  # [R, P] float32 search value; NaN where no search was made


class Lanes(NamedTuple):
    """What replay keeps per lane and in all; `counts` and `range` are arrays so that kernels can change them."""

    head: np.ndarray  # [lanes] int64 rows ever added
    finals: np.ndarray  # [lanes] int64 final rows stored
    episode_return: np.ndarray  # [lanes, P] float64 undiscounted, of the unfinished episode
    counts: np.ndarray  # [3] int64: environment steps ever added, episodes ever ended, sweep cursor (a row id)
    range: np.ndarray  # [4] float64: largest |reward|, smallest and largest episode return, largest priority^α


class Store(NamedTuple):
    """All of a replay that kernels work on."""

    rows: Columns
    lanes: Lanes
    tree: np.ndarray  # sum tree of the rows' weights p^α; empty where sampling is uniform
    dirty: np.ndarray  # [chunks] bool by chunk modulo its size: a target or weight changed since the last save
    capacity: int  # rows of each lane's ring
    inner: int  # inner nodes of the tree
    chunk: int  # rows of each lane in a chunk file


class Rows(NamedTuple):
    """M rows to add. Row t holds o_t, a_t and what a_t caused. Any object with these attributes serves."""

    observation: np.ndarray  # [M, ...] o_t
    action: np.ndarray  # [M] a_t; ignored in final rows
    reward: np.ndarray  # [M, P] r_{t+1}; ignored in final rows
    terminated: np.ndarray  # [M] bool
    truncated: np.ndarray  # [M] bool
    final: np.ndarray  # [M] bool, true where the row holds only its episode's last observation
    to_play: np.ndarray  # [M]
    legal: np.ndarray  # [M, A] bool
    policy: np.ndarray | None = None  # [M, A] search policy; all 0, or None, where there was no search
    value: np.ndarray | None = None  # [M, P] search value; NaN, or None, where there was no search
    episode: np.ndarray | None = None  # [M] number of the episode
    settled: np.ndarray | None = None  # [M] bool, true where the value of a final row is known: no search replaces it


def empty_columns(spec: EnvSpec, rows: int) -> Columns:
    """Room for `rows` rows. Memory is taken page by page as rows are written."""
    width = int(np.prod(spec.observation_shape)) * np.dtype(spec.observation_dtype).itemsize
    return Columns(
        np.empty((rows, width), np.uint8),
        np.empty(rows, np.int32),
        np.empty((rows, spec.players), np.float32),
        np.empty(rows, np.uint8),
        np.empty(rows, np.int8),
        np.empty((rows, 0 if spec.always_legal else spec.num_actions), bool),
        np.empty(rows, np.int64),
        np.empty(rows, np.int64),
        np.empty((rows, spec.num_actions), np.float32),
        np.empty((rows, spec.players), np.float32),
    )


def empty_store(spec: EnvSpec, config: ReplayConfig, lanes: int, most: int | None = None) -> Store:
    """A replay without rows, as large as the budget allows; at most `most` rows in a lane."""
    capacity = lane_capacity(spec, config, lanes)
    capacity = capacity if most is None else min(capacity, most)
    prioritised = config.priority_alpha > 0
    chunk = max(1, CHUNK_BYTES // (bytes_per_row(spec, config) * lanes), -(-capacity // MOST_CHUNKS))
    state = Lanes(
        np.zeros(lanes, np.int64),
        np.zeros(lanes, np.int64),
        np.zeros((lanes, spec.players)),
        np.zeros(3, np.int64),
        np.array([0.0, np.inf, -np.inf, 1.0]),
    )
    return Store(
        empty_columns(spec, lanes * capacity),
        state,
        make_tree(lanes * capacity) if prioritised else np.zeros(0),
        empty_dirty(capacity, chunk),
        capacity,
        inner_nodes(lanes * capacity),
        chunk,
    )


def empty_dirty(capacity: int, chunk: int) -> np.ndarray:
    """Marks for as many chunks as a lane's ring can lie in at once; none set."""
    return np.zeros(capacity // chunk + 2, bool)


def bytes_per_row(spec: EnvSpec, config: ReplayConfig) -> int:
    """Bytes of one row in all arrays, its share of the sum tree included, rounded up."""
    columns = sum(column.nbytes for column in empty_columns(spec, 1))
    return columns + (9 if config.priority_alpha > 0 else 0)


def lane_capacity(spec: EnvSpec, config: ReplayConfig, lanes: int) -> int:
    """Rows of each lane's ring, so that every array together stays within the budget.

    Raises:
      ConfigError: fewer than two rows fit in a lane.
    """
    budget, each = int(config.max_gb * 1e9), bytes_per_row(spec, config)
    fixed = 4096 + lanes * (16 + 8 * spec.players)
    by_bytes = (budget - fixed) // (each * lanes)
    if by_bytes < 2:
        need = (2 * each * lanes + fixed) / 1e9
        raise ConfigError(
            f"replay.max_gb: {config.max_gb} holds less than two rows of {each} bytes in each of {lanes} environments; "
            f"set at least {need:.2g}"
        )
    if config.max_steps < 2 * lanes:
        raise ConfigError(
            f"replay.max_steps: {config.max_steps} is less than two in each of {lanes} environments; "
            f"set at least {2 * lanes}"
        )
    return min(by_bytes, config.max_steps // lanes)


def checked_columns(spec: EnvSpec, size: int, rows: Rows | Any) -> Columns:
    """The rows as kernels read them.

    Raises:
      ValueError: a shape, an action or a reward is wrong.
    """
    observation = np.ascontiguousarray(rows.observation, spec.observation_dtype)
    if observation.shape != (size, *spec.observation_shape):
        raise ValueError(f"observation: shape {observation.shape}, expected {(size, *spec.observation_shape)}")
    final = np.asarray(rows.final, bool)
    settled = np.zeros(size, bool) if rows.settled is None else np.asarray(rows.settled, bool)
    flags = (
        TERMINATED * np.asarray(rows.terminated, np.uint8)
        + TRUNCATED * np.asarray(rows.truncated, np.uint8)
        + FINAL * final.astype(np.uint8)
        + SETTLED * (settled & final).astype(np.uint8)
    ).astype(np.uint8)
    action = np.where(final, 0, np.asarray(rows.action, np.int32)).astype(np.int32)
    if size and not 0 <= action.min() <= action.max() < spec.num_actions:
        raise ValueError(f"action: {action} is outside 0..{spec.num_actions - 1}")
    reward = np.where(final[:, None], 0, np.asarray(rows.reward, np.float32)).astype(np.float32)
    if not np.isfinite(reward).all():
        raise ValueError(f"reward: {reward} is not finite")
    policy = np.zeros((size, spec.num_actions)) if rows.policy is None else rows.policy
    value = np.full((size, spec.players), np.nan) if rows.value is None else rows.value
    episode = np.zeros(size) if rows.episode is None else rows.episode
    legal = np.zeros((size, 0), bool) if spec.always_legal else rows.legal
    new = Columns(
        observation.reshape(size, -1).view(np.uint8),
        action,
        reward,
        flags,
        np.ascontiguousarray(rows.to_play, np.int8),
        np.ascontiguousarray(legal, bool),
        np.ascontiguousarray(episode, np.int64),
        np.zeros(size, np.int64),
        np.ascontiguousarray(policy, np.float32),
        np.ascontiguousarray(value, np.float32),
    )
    rest = {
        "reward": (spec.players,),
        "legal": (0 if spec.always_legal else spec.num_actions,),
        "policy": (spec.num_actions,),
        "value": (spec.players,),
    }
    for name in ("action", "reward", "flags", "to_play", "legal", "episode", "policy", "value"):
        shape, expected = getattr(new, name).shape, (size, *rest.get(name, ()))
        if shape != expected:
            raise ValueError(f"{name}: shape {shape}, expected {expected}")
    return new
