"""Compiled loops that change or walk the rows of replay. Each takes whole arrays and no Python objects."""

from __future__ import annotations

import numpy as np

from muzen.caches import kernel
from muzen.replay.columns import (
    CURSOR,
    EPISODES,
    FINAL,
    MAX_RETURN,
    MAX_REWARD,
    MAX_WEIGHT,
    MIN_RETURN,
    SETTLED,
    STEPS,
    TERMINATED,
    TRUNCATED,
    Columns,
    Lanes,
    Store,
)
from muzen.replay.splitmix import random_below, random_unit
from muzen.replay.sum_tree import tree_find, tree_set

# What `add_rows` answers besides the number of rows added.
FINAL_EXPECTED, FINAL_UNEXPECTED = -1, -2


@kernel
def copy_row(out: np.ndarray, rows: np.ndarray, row: int) -> None:
    """out[:] = rows[row], element by element: a slice would compile for two seconds, to say what shapes do not fit."""
    for d in range(out.shape[0]):
        out[d] = rows[row, d]


@kernel
def add_rows(store: Store, lane: np.ndarray, new: Columns) -> int:
    """Append row m of `new` to `lane[m]`, in order.

    The row before it becomes a start, at the largest weight; the place it takes loses its old weight.

    Returns:
      Rows added; or, with rows before it added, `FINAL_EXPECTED - 2 m` or `FINAL_UNEXPECTED - 2 m` where
      row m breaks the order of an episode.
    """
    rows, lanes, tree, dirty, capacity, inner, chunk = store
    for m in range(lane.shape[0]):
        i = lane[m]
        head, base = lanes.head[i], lane[m] * capacity
        row, before = base + head % capacity, base + (head - 1) % capacity
        final = new.flags[m] & FINAL != 0
        ended = head > 0 and not rows.flags[before] & FINAL and rows.flags[before] & (TERMINATED | TRUNCATED) != 0
        if ended != final:
            return (FINAL_EXPECTED if ended else FINAL_UNEXPECTED) - 2 * m
        if head >= capacity and rows.flags[row] & FINAL:
            lanes.finals[i] -= 1
        copy_row(rows.observation[row], new.observation, m)
        rows.action[row] = new.action[m]
        copy_row(rows.reward[row], new.reward, m)
        kept = new.flags[m] & (FINAL | SETTLED)
        rows.flags[row] = kept | (rows.flags[before] & (TERMINATED | TRUNCATED)) if final else new.flags[m]
        rows.to_play[row] = new.to_play[m]
        copy_row(rows.legal[row], new.legal, m)
        rows.episode[row] = new.episode[m]
        rows.step[row] = lanes.counts[STEPS]
        copy_row(rows.policy[row], new.policy, m)
        copy_row(rows.value[row], new.value, m)
        if tree.shape[0] > 0:
            tree_set(tree, inner, row, 0.0)
            if head > 0 and not rows.flags[before] & FINAL:
                tree_set(tree, inner, before, lanes.range[MAX_WEIGHT])
                dirty[((head - 1) // chunk) % dirty.shape[0]] = True
        lanes.head[i] += 1
        dirty[(head // chunk) % dirty.shape[0]] = True
        if final:
            lanes.finals[i] += 1
        else:
            lanes.counts[STEPS] += 1
            count_reward(lanes, i, new.reward[m], new.flags[m] & (TERMINATED | TRUNCATED) != 0)
    return lane.shape[0]


@kernel
def count_reward(lanes: Lanes, i: int, reward: np.ndarray, ended: bool) -> None:
    """Bring the ranges of rewards and episode returns up to date with one step."""
    for p in range(reward.shape[0]):
        lanes.range[MAX_REWARD] = max(lanes.range[MAX_REWARD], abs(reward[p]))
        lanes.episode_return[i, p] += reward[p]
        if ended:
            total = lanes.episode_return[i, p]
            lanes.range[MIN_RETURN] = min(lanes.range[MIN_RETURN], total)
            lanes.range[MAX_RETURN] = max(lanes.range[MAX_RETURN], total)
            lanes.episode_return[i, p] = 0.0
    if ended:
        lanes.counts[EPISODES] += 1


@kernel
def stored(head: int, capacity: int) -> int:
    """Rows that a lane holds."""
    return min(head, capacity)


@kernel
def draw_uniform(store: Store, state: np.ndarray, index: np.ndarray) -> None:
    """Fill `index` with ids of starts, each equally likely: rows drawn, and drawn again where not a start.

    At least one start must be stored.
    """
    rows, head, capacity = store.rows, store.lanes.head, store.capacity
    lanes = head.shape[0]
    below = np.zeros(lanes + 1, np.int64)
    for i in range(lanes):
        below[i + 1] = below[i] + max(stored(head[i], capacity) - 1, 0)  # the newest row is no start
    for b in range(index.shape[0]):
        while True:
            place = random_below(state, below[-1])
            i = np.searchsorted(below, place, side="right") - 1
            sequence = head[i] - 2 - (place - below[i])
            if not rows.flags[i * capacity + sequence % capacity] & FINAL:
                break
        index[b] = sequence * lanes + i


@kernel
def draw_weighted(store: Store, state: np.ndarray, index: np.ndarray, probability: np.ndarray) -> None:
    """Fill `index` with ids of starts drawn in proportion to their weights, and `probability` with P(i)."""
    head, tree, capacity, inner = store.lanes.head, store.tree, store.capacity, store.inner
    lanes = head.shape[0]
    for b in range(index.shape[0]):
        row = tree_find(tree, inner, random_unit(state) * tree[0])
        i, slot = row // capacity, row % capacity
        newest = head[i] - 1
        sequence = newest - (newest - slot) % capacity
        index[b] = sequence * lanes + i
        probability[b] = tree[inner + row] / tree[0]


@kernel
def place_of(head: np.ndarray, capacity: int, index: int) -> int:
    """Flat place of the row with this id; -1 if it was evicted or never added."""
    lanes = head.shape[0]
    i, sequence = index % lanes, index // lanes
    if index < 0 or sequence >= head[i] or sequence < head[i] - capacity:
        return -1
    return i * capacity + sequence % capacity


@kernel
def set_weights(store: Store, index: np.ndarray, weight: np.ndarray) -> None:
    """Give each start in `index` its weight p^α; evicted rows and rows that are no starts are left alone."""
    rows, lanes, tree, dirty, capacity, inner, chunk = store
    count = lanes.head.shape[0]
    for b in range(index.shape[0]):
        row, sequence = place_of(lanes.head, capacity, index[b]), index[b] // count
        lanes.range[MAX_WEIGHT] = max(lanes.range[MAX_WEIGHT], weight[b])
        if row < 0 or rows.flags[row] & FINAL or sequence == lanes.head[index[b] % count] - 1:
            continue
        tree_set(tree, inner, row, weight[b])
        dirty[(sequence // chunk) % dirty.shape[0]] = True


@kernel
def set_targets(store: Store, index: np.ndarray, policy: np.ndarray, value: np.ndarray) -> int:
    """Rewrite search policies and values; returns how many of the rows were still stored."""
    rows, head, dirty = store.rows, store.lanes.head, store.dirty
    written = 0
    for b in range(index.shape[0]):
        row = place_of(head, store.capacity, index[b])
        if row < 0:
            continue
        copy_row(rows.policy[row], policy, b)
        copy_row(rows.value[row], value, b)
        dirty[(index[b] // head.shape[0] // store.chunk) % dirty.shape[0]] = True
        written += 1
    return written


@kernel
def set_values(store: Store, index: np.ndarray, value: np.ndarray) -> int:
    """Rewrite search values, where there are some and no resigning has settled them; returns of how many rows."""
    rows, head, dirty = store.rows, store.lanes.head, store.dirty
    written = 0
    for b in range(index.shape[0]):
        row = place_of(head, store.capacity, index[b])
        if row < 0 or rows.flags[row] & SETTLED or np.isnan(rows.value[row, 0]):
            continue
        copy_row(rows.value[row], value, b)
        dirty[(index[b] // head.shape[0] // store.chunk) % dirty.shape[0]] = True
        written += 1
    return written


@kernel
def first_of_episode(store: Store, index: np.ndarray) -> np.ndarray:
    """[M] sequence number of the first row of the episode of each row; -1 where that, or the row, was evicted."""
    rows, lanes, capacity = store.rows, store.lanes, store.capacity
    count = lanes.head.shape[0]
    first = np.full(index.shape[0], -1, np.int64)
    for b in range(index.shape[0]):
        i, sequence = index[b] % count, index[b] // count
        oldest = lanes.head[i] - stored(int(lanes.head[i]), capacity)
        if place_of(lanes.head, capacity, index[b]) < 0:
            continue
        while sequence > oldest and not rows.flags[i * capacity + (sequence - 1) % capacity] & FINAL:
            sequence -= 1
        if sequence == 0 or sequence > oldest:
            first[b] = sequence
    return first


@kernel
def sweep(store: Store, index: np.ndarray) -> int:
    """Fill `index` with the ids that follow the cursor, oldest row first and from the oldest again at the end.

    Skips final rows whose value is known, and those of terminated episodes, whose policy and value nothing asks for.

    Returns:
      Ids filled in: all, or 0 where there is none to visit.
    """
    rows, lanes, capacity = store.rows, store.lanes, store.capacity
    count = lanes.head.shape[0]
    oldest, newest = lanes.head[0], np.int64(0)
    for i in range(count):
        oldest = min(oldest, lanes.head[i] - stored(lanes.head[i], capacity))
        newest = max(newest, lanes.head[i])
    cursor = lanes.counts[CURSOR]
    filled, idle = 0, np.int64(0)
    while filled < index.shape[0]:
        if cursor < oldest * count or cursor >= newest * count:
            cursor = oldest * count
        row = place_of(lanes.head, capacity, cursor)
        done = row < 0 or rows.flags[row] & SETTLED or rows.flags[row] & (FINAL | TERMINATED) == (FINAL | TERMINATED)
        if not done:
            index[filled] = cursor
            filled, idle = filled + 1, np.int64(0)
        else:
            idle += 1
            if idle > (newest - oldest) * count:
                break
        cursor += 1
    lanes.counts[CURSOR] = cursor
    return filled
