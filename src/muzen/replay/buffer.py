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
from muzen.maths.priorities import MIN_PRIORITY, importance_weights
from muzen.replay import columns, kernels
from muzen.replay.chunks import ChunkFiles, load_rows
from muzen.replay.columns import FINAL, TERMINATED, TRUNCATED, Rows, bytes_per_row, checked_columns, empty_store
from muzen.replay.windows import Batch, blank, move_to_ends, observation_view, windows
from muzen.types import EnvSpec


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
      most_rows: bound on the rows of a lane beside the budget's.

    Raises:
      ConfigError: the budget does not hold two rows in every lane.
    """

    def __init__(self, spec: EnvSpec, config: ReplayConfig, lanes: int, seed: int, most_rows: int | None = None):
        self.spec, self.config, self.lanes = spec, config, lanes
        self.bytes_per_row = bytes_per_row(spec, config)
        self._store = empty_store(spec, config, lanes, most_rows)
        self.capacity = self._store.capacity
        self.max_steps = self.capacity * lanes
        self._prioritised = config.priority_alpha > 0
        self._rng = np.random.Generator(np.random.PCG64(seed))
        self._files = ChunkFiles()
        self._lock = threading.RLock()

    def add(self, lane: np.ndarray, rows: Rows | Any) -> None:
        """Append row m to lane[m]. Within a call rows are added in order, so a lane may be named twice.

        Raises:
          ValueError: a shape, lane, action or reward is wrong; an episode that ended has no final row, or a
            final row follows no end.
        """
        lane = np.atleast_1d(np.asarray(lane, np.int64))
        new = checked_columns(self.spec, len(lane), rows)
        if len(lane) and not 0 <= lane.min() <= lane.max() < self.lanes:
            raise ValueError(f"lane: {lane} is outside 0..{self.lanes - 1}")
        with self._lock:
            added = kernels.add_rows(self._store, lane, new)
        if added < 0:
            m, expected = (-added - 1) // 2, added % 2 == 1
            what = (
                "needs a final row after the step that ended its episode"
                if expected
                else "has a final row but no ended episode"
            )
            raise ValueError(f"rows[{m}]: lane {lane[m]} {what}")

    def awaits_final(self) -> np.ndarray:
        """[lanes] true where an episode has ended, and only its final row is missing."""
        flags = self._store.rows.flags[self._newest()]
        return (self._store.lanes.head > 0) & (flags & FINAL == 0) & (flags & (TERMINATED | TRUNCATED) != 0)

    def cut_off(self, lane: int, observation: np.ndarray, to_play: int, legal: np.ndarray) -> None:
        """End a lane's unfinished episode, if there is one, as one that was cut off.

        It showed `observation` [...] last, `to_play` was to move, and `legal` [A] was legal. For an episode that cannot
        go on: what follows it in the lane would be taken for its own.
        """
        store, place = self._store, self._newest()[lane]
        if store.lanes.head[lane] == 0 or store.rows.flags[place] & FINAL:
            return
        if not self.awaits_final()[lane]:
            store.rows.flags[place] |= TRUNCATED
            kernels.count_reward(store.lanes, lane, np.zeros(self.spec.players), True)
        none, no, reward = np.zeros(1, int), np.zeros(1, bool), np.zeros((1, self.spec.players))
        mover, episode = np.array([to_play]), store.rows.episode[[place]]
        self.add(
            np.array([lane]),
            Rows(observation[None], none, reward, no, no, ~no, mover, np.array(legal, bool)[None], episode=episode),
        )

    def _newest(self) -> np.ndarray:
        """[lanes] place of each lane's newest row; of an empty one, its last place."""
        return np.arange(self.lanes) * self.capacity + (self._store.lanes.head - 1) % self.capacity

    def sample(
        self,
        count: int,
        batch_size: int,
        *,
        unroll_steps: int,
        n_step: int,
        discount: float,
        td_lambda: float = 1.0,
        correct_off_policy: bool = False,
        bootstrap_observation: bool = False,
        ends: float = 0.0,
    ) -> Batch:
        """Draw `count` batches of windows.

        Starts are drawn independently with P(i) ∝ p_i^α, or uniformly when α = 0, among all steps whose
        outcome is known: up to the last step of an episode, so its end is trained too.

        Args:
          unroll_steps: K.
          n_step: n, at least 1; fewer rewards where the episode ends or the rows end.
          discount: γ per environment step.
          td_lambda: λ, how much a value target trusts later rows over each row's stored search value; 1: n-step.
          correct_off_policy: trust an action's outcome only as far as the stored search policy would take it.
          bootstrap_observation: also give the observation that each value target bootstraps from.
          ends: share of the starts that are moved on to the last K steps of their episode, where it terminates; none
            if K is 0. Weights and probabilities say nothing of it, so not together with α.

        Returns:
          Fresh arrays with leading axes [count, batch_size].

        Raises:
          ValueError: no start is stored yet, n_step or unroll_steps is out of range, or there are ends with α.
        """
        if ends > 0 and self._prioritised:
            raise ValueError(f"ends: {ends} with priorities; starts that are moved on were not drawn by them")
        if n_step < 1 or unroll_steps < 0:
            raise ValueError(f"n_step {n_step} must be at least 1 and unroll_steps {unroll_steps} at least 0")
        index = np.empty(count * batch_size, np.int64)
        probability = np.empty(count * batch_size)
        with self._lock:
            starts = self.starts
            if starts == 0:
                raise ValueError("replay: no step can be sampled yet; add at least two rows to a lane first")
            state = self._rng.integers(0, 2**64, 1, np.uint64)
            if self._prioritised:
                kernels.draw_weighted(self._store, state, index, probability)
            else:
                kernels.draw_uniform(self._store, state, index)
            if ends > 0 and unroll_steps > 0:
                move_to_ends(self._store, state, index, ends, unroll_steps)
            flat = windows(
                self._store,
                self.spec,
                index,
                unroll_steps=unroll_steps,
                n_step=n_step,
                discount=discount,
                td_lambda=td_lambda,
                correct_off_policy=correct_off_policy,
                bootstrap_observation=bootstrap_observation,
                state=state,
            )
        batch = _grouped(flat, count, batch_size)
        if not self._prioritised:
            return batch._replace(probability=np.full((count, batch_size), 1 / starts))
        probability = probability.reshape(count, batch_size)
        weight = np.stack([importance_weights(p, starts, self.config.priority_beta) for p in probability])
        return batch._replace(probability=probability, weight=weight.astype(np.float32))

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
        weight = np.maximum(priority, MIN_PRIORITY) ** self.config.priority_alpha
        with self._lock:
            kernels.set_weights(self._store, index, weight)

    def positions(self, n: int) -> np.ndarray:
        """The next [n] ids of a sweep over all rows, for fresh targets: oldest first, over and over.

        Final and newest rows take part, for values bootstrap from them; final rows of terminated episodes
        do not. Ids repeat where fewer than n rows are stored; none come back from an empty replay.
        """
        index = np.empty(n, np.int64)
        with self._lock:
            return index[: kernels.sweep(self._store, index)]

    def random_positions(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """[n] ids of rows drawn at random, each of those stored as likely, again and again; none of an empty replay."""
        head = self._store.lanes.head
        held = np.minimum(head, self.capacity)
        if not held.any():
            return np.empty(0, np.int64)
        ends = np.cumsum(held)
        place = rng.integers(0, ends[-1], n)
        lane = np.searchsorted(ends, place, side="right")
        sequence = head[lane] - 1 - (place - (ends - held)[lane])
        return sequence * self.lanes + lane

    def observations(self, index: np.ndarray) -> np.ndarray:
        """[..., *observation shape] of the rows with these ids.

        Where a row was evicted meanwhile, this is a newer row's observation; `write_targets` drops what becomes of it.
        """
        return observation_view(self._store.rows.observation[self._places(index)], self.spec)

    def legal(self, index: np.ndarray) -> np.ndarray:
        """[..., A] true where legal in the rows with these ids."""
        if self.spec.always_legal:
            return np.ones((*np.shape(index), self.spec.num_actions), bool)
        return self._store.rows.legal[self._places(index)]

    def to_play(self, index: np.ndarray) -> np.ndarray:
        """[...] int32 who moves in the rows with these ids."""
        return self._store.rows.to_play[self._places(index)].astype(np.int32)

    def histories(self, index: np.ndarray) -> list[np.ndarray | None]:
        """The actions of its episode before each row with these ids [M]; None where the first of them was evicted."""
        with self._lock:
            found: list[np.ndarray | None] = []
            for row, first in zip(
                index, kernels.first_of_episode(self._store, np.asarray(index, np.int64)), strict=True
            ):
                lane, sequence = row % self.lanes, row // self.lanes
                places = lane * self.capacity + np.arange(first, sequence) % self.capacity
                found.append(None if first < 0 else self._store.rows.action[places])
        return found

    def write_targets(self, index: np.ndarray, policy: np.ndarray, value: np.ndarray) -> int:
        """Rewrite the search policy [M, A] and search value [M, P] of the rows with these ids.

        Returns:
          Rows written; those evicted meanwhile are passed over.
        """
        index = np.asarray(index, np.int64).ravel()
        policy = np.ascontiguousarray(policy, np.float32).reshape(index.size, self.spec.num_actions)
        value = np.ascontiguousarray(value, np.float32).reshape(index.size, self.spec.players)
        with self._lock:
            return kernels.set_targets(self._store, index, policy, value)

    def write_values(self, index: np.ndarray, value: np.ndarray) -> int:
        """Rewrite the search value [M, P] of the rows with these ids that have one, and whose game no resigning ended.

        Returns:
          Rows written; those evicted meanwhile are passed over too.
        """
        index = np.asarray(index, np.int64).ravel()
        value = np.ascontiguousarray(value, np.float32).reshape(index.size, self.spec.players)
        with self._lock:
            return kernels.set_values(self._store, index, value)

    @property
    def steps(self) -> int:
        """Environment steps stored now."""
        return int(np.minimum(self._store.lanes.head, self.capacity).sum() - self._store.lanes.finals.sum())

    @property
    def starts(self) -> int:
        """Rows that a window can start at: the steps stored, less each lane's newest row."""
        open_lanes = (self._store.lanes.head > 0) & (self._store.rows.flags[self._newest()] & FINAL == 0)
        return self.steps - int(open_lanes.sum())

    @property
    def total_steps(self) -> int:
        """Environment steps ever added."""
        return int(self._store.lanes.counts[columns.STEPS])

    @property
    def nbytes(self) -> int:
        """Bytes of every array when full; never above the budget."""
        store = self._store
        return sum(array.nbytes for array in (*store.rows, *store.lanes, store.tree, store.dirty))

    @property
    def statistics(self) -> Statistics:
        """Ranges of rewards and returns, for supports and reports."""
        ranges = self._store.lanes.range
        return Statistics(
            int(self._store.lanes.counts[columns.EPISODES]),
            float(ranges[columns.MAX_REWARD]),
            float(ranges[columns.MIN_RETURN]),
            float(ranges[columns.MAX_RETURN]),
        )

    def largest_lasting_reward(self) -> float:
        """Largest |reward| stored, of steps that did not end their episode: what a policy may get again and again."""
        rows, held = self._store.rows, np.minimum(self._store.lanes.head, self.capacity)
        flags, reward = rows.flags.reshape(self.lanes, -1), rows.reward.reshape(self.lanes, self.capacity, -1)
        lasting = (np.arange(self.capacity) < held[:, None]) & (flags & TERMINATED == 0)
        return float(np.abs(reward[lasting]).max(initial=0.0))

    def blank(self, count: int, batch_size: int, *, unroll_steps: int, bootstrap_observation: bool) -> Batch:
        """Arrays with the shapes and types of what `sample` gives, before there is anything to be sampled."""
        asked = {"unroll_steps": unroll_steps, "bootstrap_observation": bootstrap_observation}
        return _grouped(blank(count * batch_size, self.spec, **asked), count, batch_size)

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
            files = self._files.write(Path(folder), self._store, self._leaves())
            return {
                "lanes": self.lanes,
                "capacity": self.capacity,
                "chunk_rows": self._store.chunk,
                "head": self._store.lanes.head.tolist(),
                "episode_return": self._store.lanes.episode_return.tolist(),
                "counts": self._store.lanes.counts.tolist(),
                "range": [str(x) for x in self._store.lanes.range],
                "rng": self._rng.bit_generator.state,
                "files": files,
            }

    @classmethod
    def load(cls, folder: Path | str, manifest: dict[str, Any], spec: EnvSpec, config: ReplayConfig) -> Replay:
        """The replay that `save` wrote, to the bit.

        A smaller budget keeps the newest rows; a larger one counts only if no row was evicted yet.

        Raises:
          RunDamagedError: a file or the manifest is missing, truncated or altered, or fits another environment.
        """
        return load_rows(cls, Path(folder), manifest, spec, config)

    def _leaves(self) -> np.ndarray:
        """[rows] weights p^α by place, a view of the tree; empty where sampling is uniform."""
        return self._store.tree[self._store.inner : self._store.inner + self.max_steps]

    def _places(self, index: np.ndarray) -> np.ndarray:
        index = np.asarray(index, np.int64)
        return index % self.lanes * self.capacity + index // self.lanes % self.capacity


def _grouped(flat: Batch, count: int, batch_size: int) -> Batch:
    """[count * batch, ...] -> [count, batch, ...] in every array."""
    return Batch._make(None if x is None else x.reshape(count, batch_size, *x.shape[1:]) for x in flat)


def _short(x: float, unit: str = "") -> str:
    """1300000 -> '1.3 M'; with a unit 'B', '1.3 MB'."""
    for scale, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if x >= 0.9995 * scale:
            return f"{x / scale:.1f} {prefix}{unit}"
    return f"{x:.0f} {unit}".rstrip()
