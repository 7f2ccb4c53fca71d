"""Replay: one ring of rows per environment, bounded in bytes, sampled uniformly or by priority.

A row's *id* is `sequence * lanes + lane`: it never changes and is never used again, so an id that was
sampled long ago names its row or, once evicted, nothing.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from muzen.config import ReplayConfig
from muzen.errors import ConfigError
from muzen.replay import kernels
from muzen.replay.chunks import ChunkStore, load_rows
from muzen.replay.kernels import Lanes
from muzen.replay.sum_tree import inner_nodes, make_tree
from muzen.replay.windows import FINAL, TERMINATED, TRUNCATED, Batch, Columns, cut_windows
from muzen.types import EnvSpec

# A start must never become impossible to draw: a priority of 0 counts as this.
SMALLEST_PRIORITY = 1e-12


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


class Statistics(NamedTuple):
    """Of every step ever added, evicted ones included; returns are undiscounted, of ended episodes."""

    episodes: int
    max_abs_reward: float
    min_return: float  # inf before the first episode ends
    max_return: float  # -inf before the first episode ends


class Replay:
    """Rows in time order, one ring per environment ("lane").

    After an episode ends, its lane gets one more row, the *final* row, with only the last observation:
    a truncated episode bootstraps from the value stored there. Final rows and each lane's newest row are
    no starts of windows. Threads may share a replay.

    Args:
      spec: shapes and types of what is stored.
      config: budget in bytes and in steps, exponents of prioritised sampling.
      lanes: environments.
      seed: of sampling and of actions past an episode's end.

    Raises:
      ConfigError: the budget does not hold two rows in every lane.
    """

    def __init__(self, spec: EnvSpec, config: ReplayConfig, lanes: int, seed: int):
        self.spec, self.config, self.lanes = spec, config, lanes
        self.bytes_per_row = bytes_per_row(spec, config)
        self.capacity = lane_capacity(spec, config, lanes)
        self.max_steps = self.capacity * lanes
        self._rows = empty_columns(spec, self.max_steps)
        self._lanes = Lanes(
            np.zeros(lanes, np.int64),
            np.zeros(lanes, np.int64),
            np.zeros((lanes, spec.players)),
            np.zeros(3, np.int64),
            np.array([0.0, np.inf, -np.inf, 1.0]),
        )
        self._prioritised = config.priority_alpha > 0
        self._inner = inner_nodes(self.max_steps)
        self._tree = make_tree(self.max_steps) if self._prioritised else np.zeros(0)
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._chunks = ChunkStore(self.bytes_per_row, lanes, self.capacity)
        self._lock = threading.RLock()

    def add(self, lane: np.ndarray, rows: Rows | Any) -> None:
        """Append row m to lane[m]. Within a call rows are added in order, so a lane may be named twice.

        Raises:
          ValueError: a shape, lane, action or reward is wrong; an episode that ended has no final row, or a
            final row follows no end.
        """
        lane = np.atleast_1d(np.asarray(lane, np.int64))
        new = self._columns(len(lane), rows)
        if len(lane) and not 0 <= lane.min() <= lane.max() < self.lanes:
            raise ValueError(f"lane: {lane} is outside 0..{self.lanes - 1}")
        with self._lock:
            added = kernels.add_rows(
                self._rows,
                self._lanes,
                self._tree,
                self._inner,
                self.capacity,
                self._chunks.length,
                self._chunks.dirty,
                lane,
                new,
            )
        if added < 0:
            m, expected = (-added - 1) // 2, added % 2 == 1
            what = (
                "needs a final row after the step that ended its episode"
                if expected
                else "has a final row but no ended episode"
            )
            raise ValueError(f"rows[{m}]: lane {lane[m]} {what}")

    def sample(
        self,
        count: int,
        batch_size: int,
        *,
        unroll_steps: int,
        n_step: int,
        discount: float,
        bootstrap_observation: bool = False,
    ) -> Batch:
        """Draw `count` batches of windows.

        Starts are drawn independently with P(i) ∝ p_i^α, or uniformly when α = 0, among all steps whose
        outcome is known: up to the last step of an episode, so its end is trained too.

        Args:
          unroll_steps: K.
          n_step: n, at least 1; fewer rewards where the episode ends or the rows end.
          discount: γ per environment step.
          bootstrap_observation: also give the observation that each value target bootstraps from.

        Returns:
          Fresh arrays with leading axes [count, batch_size].

        Raises:
          ValueError: no start is stored yet, or n_step or unroll_steps is out of range.
        """
        if n_step < 1 or unroll_steps < 0:
            raise ValueError(f"n_step {n_step} must be at least 1 and unroll_steps {unroll_steps} at least 0")
        size = count * batch_size
        index, probability = np.empty(size, np.int64), np.empty(size)
        with self._lock:
            starts = self.starts
            if starts == 0:
                raise ValueError("replay: no step can be sampled yet; add at least two rows to a lane first")
            state = self._rng.integers(0, 2**64, 1, np.uint64)
            head = self._lanes.head
            if self._prioritised:
                kernels.draw_weighted(self._tree, self._inner, head, self.capacity, state, index, probability)
            else:
                probability.fill(1 / starts)
                kernels.draw_uniform(self._rows, head, self.capacity, state, index)
            batch = self._empty_batch(size, unroll_steps, bootstrap_observation, index, probability)
            cut_windows(self._rows, head, self.capacity, index, n_step, discount, state, batch)
        weight = importance_weight(probability.reshape(count, batch_size), starts, self.config.priority_beta)
        return self._shaped(batch._replace(weight=weight.ravel()), count, batch_size)

    def update_priorities(self, index: np.ndarray, priority: np.ndarray) -> None:
        """Give the starts with these ids new priorities p; ids of evicted rows are passed over. Nothing if α = 0.

        Raises:
          ValueError: a priority is negative or not finite.
        """
        if not self._prioritised:
            return
        index = np.asarray(index, np.int64).ravel()
        priority = np.asarray(priority, np.float64).ravel()
        if priority.shape != index.shape:
            raise ValueError(f"priority: {priority.size} for {index.size} rows; give one each")
        if not (np.isfinite(priority) & (priority >= 0)).all():
            raise ValueError("priority: must be finite and not negative; look for NaN in the value loss")
        weight = np.maximum(priority, SMALLEST_PRIORITY) ** self.config.priority_alpha
        with self._lock:
            kernels.set_weights(
                self._rows,
                self._lanes,
                self._tree,
                self._inner,
                self.capacity,
                self._chunks.length,
                self._chunks.dirty,
                index,
                weight,
            )

    def positions(self, n: int) -> np.ndarray:
        """The next [n] ids of a sweep over all rows, for fresh targets: oldest first, over and over.

        Final and newest rows take part, for values bootstrap from them; final rows of terminated episodes
        do not. Ids repeat where fewer than n rows are stored; none come back from an empty replay.
        """
        index = np.empty(n, np.int64)
        with self._lock:
            return index[: kernels.sweep(self._rows, self._lanes, self.capacity, index)]

    def observations(self, index: np.ndarray) -> np.ndarray:
        """[..., *observation shape] of the rows with these ids.

        Where a row was evicted meanwhile, this is a newer row's observation; `write_targets` drops what becomes of it.
        """
        return self._observation_view(self._rows.observation[self._places(index)])

    def legal(self, index: np.ndarray) -> np.ndarray:
        """[..., A] true where legal in the rows with these ids."""
        if self.spec.always_legal:
            return np.ones((*np.shape(index), self.spec.num_actions), bool)
        return self._rows.legal[self._places(index)]

    def to_play(self, index: np.ndarray) -> np.ndarray:
        """[...] int32 who moves in the rows with these ids."""
        return self._rows.to_play[self._places(index)].astype(np.int32)

    def write_targets(self, index: np.ndarray, policy: np.ndarray, value: np.ndarray) -> int:
        """Rewrite the search policy [M, A] and search value [M, P] of the rows with these ids.

        Returns:
          Rows written; those evicted meanwhile are passed over.
        """
        index = np.asarray(index, np.int64).ravel()
        policy = np.ascontiguousarray(policy, np.float32).reshape(index.size, self.spec.num_actions)
        value = np.ascontiguousarray(value, np.float32).reshape(index.size, self.spec.players)
        with self._lock:
            return kernels.set_targets(
                self._rows,
                self._lanes.head,
                self.capacity,
                self._chunks.length,
                self._chunks.dirty,
                index,
                policy,
                value,
            )

    @property
    def steps(self) -> int:
        """Environment steps stored now."""
        return int(np.minimum(self._lanes.head, self.capacity).sum() - self._lanes.finals.sum())

    @property
    def starts(self) -> int:
        """Rows that a window can start at: the steps stored, less each lane's newest row."""
        newest = self._lanes.head - 1
        place = np.arange(self.lanes) * self.capacity + newest % self.capacity
        open_lanes = (newest >= 0) & (self._rows.flags[place] & FINAL == 0)
        return self.steps - int(open_lanes.sum())

    @property
    def total_steps(self) -> int:
        """Environment steps ever added."""
        return int(self._lanes.counts[kernels.STEPS])

    @property
    def nbytes(self) -> int:
        """Bytes of every array when full; never above the budget."""
        arrays = [*self._rows, *self._lanes, self._tree, self._chunks.dirty]
        return sum(array.nbytes for array in arrays)

    @property
    def statistics(self) -> Statistics:
        """Ranges of rewards and returns, for supports and reports."""
        ranges = self._lanes.range
        return Statistics(
            int(self._lanes.counts[kernels.EPISODES]),
            float(ranges[kernels.MAX_REWARD]),
            float(ranges[kernels.MIN_RETURN]),
            float(ranges[kernels.MAX_RETURN]),
        )

    def describe(self) -> str:
        """One line for people: the bound in bytes and in steps."""
        return f"replay: up to {_short(self.nbytes, 'B')}, {_short(self.max_steps)} steps"

    def save(self, folder: Path | str) -> dict[str, Any]:
        """Write to `folder` what changed since the last save there, in new files; never touch an older file.

        Returns:
          The manifest: JSON; everything `load` needs beside the files that it lists.

        Raises:
          StorageError: a file could not be written; the files of the last manifest are as they were.
        """
        with self._lock:
            files = self._chunks.write(Path(folder), self._rows, self._leaves(), self._lanes.head, self.capacity)
            return {
                "lanes": self.lanes,
                "capacity": self.capacity,
                "chunk_rows": self._chunks.length,
                "head": self._lanes.head.tolist(),
                "episode_return": self._lanes.episode_return.tolist(),
                "counts": self._lanes.counts.tolist(),
                "range": [str(x) for x in self._lanes.range],
                "rng": self._rng.bit_generator.state,
                "files": files,
            }

    @classmethod
    def load(cls, folder: Path | str, manifest: dict[str, Any], spec: EnvSpec, config: ReplayConfig) -> Replay:
        """The replay that `save` wrote, to the bit. A smaller budget keeps the newest rows.

        Raises:
          RunDamagedError: a file or the manifest is missing, truncated or altered, or fits another environment.
        """
        return load_rows(cls, Path(folder), manifest, spec, config)

    def _leaves(self) -> np.ndarray:
        return self._tree[self._inner : self._inner + self.max_steps] if self._prioritised else self._tree

    def _places(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, np.int64)
        return index % self.lanes * self.capacity + index // self.lanes % self.capacity

    def _observation_view(self, raw: np.ndarray) -> np.ndarray:
        """[..., bytes] uint8 -> [..., *observation shape]."""
        return raw.view(self.spec.observation_dtype).reshape(*raw.shape[:-1], *self.spec.observation_shape)

    def _columns(self, size: int, rows: Any) -> Columns:
        """The rows as kernels read them, checked."""
        spec = self.spec
        observation = np.ascontiguousarray(rows.observation, spec.observation_dtype)
        if observation.shape != (size, *spec.observation_shape):
            raise ValueError(f"observation: shape {observation.shape}, expected {(size, *spec.observation_shape)}")
        final = np.asarray(rows.final, bool)
        flags = (
            TERMINATED * np.asarray(rows.terminated, np.uint8)
            + TRUNCATED * np.asarray(rows.truncated, np.uint8)
            + FINAL * final.astype(np.uint8)
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
        new = Columns(
            observation.reshape(size, -1).view(np.uint8),
            action,
            reward,
            flags,
            np.ascontiguousarray(rows.to_play, np.int8),
            np.zeros((size, 0), bool) if spec.always_legal else np.ascontiguousarray(rows.legal, bool),
            np.ascontiguousarray(episode, np.int64),
            np.zeros(size, np.int64),
            np.ascontiguousarray(policy, np.float32),
            np.ascontiguousarray(value, np.float32),
        )
        for name, array, stored in zip(Columns._fields, new, self._rows, strict=True):
            if array.shape != (size, *stored.shape[1:]):
                raise ValueError(f"{name}: shape {array.shape}, expected {(size, *stored.shape[1:])}")
        return new

    def _empty_batch(
        self, size: int, unroll: int, bootstrap: bool, index: np.ndarray, probability: np.ndarray
    ) -> Batch:
        """Arrays with one leading axis [size] for `cut_windows` to fill; observations are raw bytes."""
        rows = self._rows
        width, actions, players = rows.observation.shape[1], self.spec.num_actions, self.spec.players
        steps, states = (size, unroll), (size, unroll + 1)
        return Batch(
            observation=np.empty((*states, width), np.uint8),
            action=np.empty(steps, np.int32),
            reward=np.empty((*steps, players), np.float32),
            continues=np.empty(steps, np.float32),
            step_mask=np.empty(steps, bool),
            policy_mask=np.empty(states, bool),
            value_mask=np.empty(states, bool),
            observation_mask=np.empty(states, bool),
            policy_target=np.empty((*states, actions), np.float32),
            partial_return=np.empty((*states, players), np.float32),
            bootstrap_discount=np.empty(states, np.float32),
            bootstrap_value=np.empty((*states, players), np.float32),
            bootstrap_mask=np.empty(states, bool),
            bootstrap_observation=np.empty((*states, width if bootstrap else 0), np.uint8),
            to_play=np.empty(states, np.int32),
            legal=np.empty((*states, rows.legal.shape[1]), bool),
            weight=probability,
            probability=probability,
            index=index,
            age=self.total_steps - rows.step[self._places(index)],
        )

    def _shaped(self, batch: Batch, count: int, batch_size: int) -> Batch:
        """One leading axis to [count, batch_size], raw bytes to observations."""
        lead = count, batch_size
        bootstrap = (
            self._observation_view(batch.bootstrap_observation) if batch.bootstrap_observation.shape[-1] else None
        )
        batch = batch._replace(observation=self._observation_view(batch.observation), bootstrap_observation=bootstrap)
        shaped = Batch(*(None if x is None else x.reshape(*lead, *x.shape[1:]) for x in batch))
        if not self.spec.always_legal:
            return shaped
        return shaped._replace(legal=np.broadcast_to(np.True_, (*shaped.legal.shape[:-1], self.spec.num_actions)))


def importance_weight(probability: np.ndarray, size: int, beta: float) -> np.ndarray:
    """[..., batch] float32 (1 / (N P(i)))^β, each batch divided by its largest."""
    weight = (1 / (size * probability)) ** beta
    return (weight / weight.max(axis=-1, keepdims=True)).astype(np.float32)


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
            f"replay.max_steps: {config.max_steps} is less than two in each of {lanes} environments; set at least {2 * lanes}"
        )
    return min(by_bytes, config.max_steps // lanes)


def _short(x: float, unit: str = "") -> str:
    """1300000 -> '1.3 M'; with a unit 'B', '1.3 MB'."""
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= 0.9995 * scale:
            return f"{x / scale:.1f} {prefix}{unit}"
    return f"{x:.0f} {unit}".rstrip()
