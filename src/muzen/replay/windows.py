"""Cut training windows out of replay: K unrolled steps from a start row, with targets and masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

TERMINATED = 1  # the row's action ended the episode by the task's rule
TRUNCATED = 2  # the episode was cut off after the row's action
FINAL = 4  # the row holds only an episode's last observation; TERMINATED and TRUNCATED say how the episode ended


class Columns(NamedTuple):
    """Every stored row, by flat place `lane * capacity + sequence % capacity`; R places in all."""

    observation: np.ndarray  # [R, bytes] uint8, o_t as raw bytes
    action: np.ndarray  # [R] int32 a_t
    reward: np.ndarray  # [R, P] float32 r_{t+1}
    flags: np.ndarray  # [R] uint8, of TERMINATED, TRUNCATED and FINAL
    to_play: np.ndarray  # [R] int8
    legal: np.ndarray  # [R, A] bool; [R, 0] where every action is always legal
    episode: np.ndarray  # [R] int64
    step: np.ndarray  # [R] int64, environment steps that replay had seen before the row
    policy: np.ndarray  # [R, A] float32 search policy; all 0 where no search was made
    value: np.ndarray  # [R, P] float32 search value; NaN where no search was made


class Batch(NamedTuple):
    """Training windows; every array has leading axes [count, batch]. Root is row t, unroll step k is row t+k.

    The episode's end is its *final* row, which holds only the last observation; the newest row of a lane
    counts as one while its episode goes on. Rows past the end repeat the last observation; rows past a
    termination are *absorbing*: reward 0, value 0, no way out.
    """

    observation: np.ndarray  # [K+1, ...] o_t .. o_{t+K}
    action: np.ndarray  # [K] int32 a_t .. ; uniformly random past the end
    reward: np.ndarray  # [K, P] float32 r_{t+1} .. r_{t+K}; 0 past the end
    continues: np.ndarray  # [K] float32, 1 where the step did not terminate; 0 at termination and after it
    step_mask: np.ndarray  # [K] true at real steps, and at absorbing ones after a termination
    policy_mask: np.ndarray  # [K+1] true at real rows before the end that have a search policy
    value_mask: np.ndarray  # [K+1] true at real rows before the end, and at absorbing ones after a termination
    observation_mask: np.ndarray  # [K+1] true where o_{t+k} is an observation of the same episode, the last included
    policy_target: np.ndarray  # [K+1, A] float32; 0 where masked
    partial_return: np.ndarray  # [K+1, P] float32, up to n discounted rewards; 0 where masked
    bootstrap_discount: np.ndarray  # [K+1] float32 γ^n, or less steps to the end; 0 past a termination or where masked
    bootstrap_value: np.ndarray  # [K+1, P] float32 search value of the bootstrap row; 0 without one
    bootstrap_mask: np.ndarray  # [K+1] false where a search value is needed but the bootstrap row has none
    bootstrap_observation: np.ndarray | None  # [K+1, ...] of the bootstrap row, if asked for
    to_play: np.ndarray  # [K+1] int32
    legal: np.ndarray  # [K+1, A] bool
    weight: np.ndarray  # [] float32 importance weight, the largest of a batch 1
    probability: np.ndarray  # [] float64 P(i) with which the start was drawn
    index: np.ndarray  # [] int64 id of the root's row
    age: np.ndarray  # [] int64 environment steps since the root's row was added

    @property
    def value_target(self) -> np.ndarray:
        """[K+1, P] z = partial return + discount × stored search value."""
        return self.partial_return + self.bootstrap_discount[..., None] * self.bootstrap_value


@njit(cache=True, nogil=True)
def random_bits(state: np.ndarray) -> np.uint64:
    """SplitMix64: advance `state` [1] uint64 and return 64 random bits."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(cache=True, nogil=True)
def random_unit(state: np.ndarray) -> float:
    """A float64 in [0, 1)."""
    return np.float64(random_bits(state) >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@njit(cache=True, nogil=True)
def random_below(state: np.ndarray, n: int) -> int:
    """An integer in [0, n)."""
    return int(random_unit(state) * n)


@njit(cache=True, nogil=True)
def steps_to_end(flags: np.ndarray, base: int, capacity: int, first: int, limit: int) -> int:
    """Rows from `first` to its episode's final row, at most `limit`."""
    last = 0
    while last < limit and not flags[base + (first + last) % capacity] & FINAL:
        last += 1
    return last


@njit(cache=True, nogil=True)
def copy_row(out: np.ndarray, rows: np.ndarray, row: int) -> None:
    """out[:] = rows[row], element by element."""
    for d in range(out.shape[0]):
        out[d] = rows[row, d]


@njit(cache=True, nogil=True)
def n_step_return(reward, discount, start, n, last, out):
    """Stand-in until `maths.returns.n_step_return` is there."""
    weight = 1.0
    out[:] = 0.0
    row = start
    while row < last and row < start + n and weight > 0.0:
        for p in range(out.shape[0]):
            out[p] += weight * reward[row, p]
        weight *= discount[row]
        row += 1
    return weight, row


@njit(cache=True, nogil=True)
def cut_windows(
    rows: Columns,
    heads: np.ndarray,
    capacity: int,
    index: np.ndarray,
    n: int,
    gamma: float,
    state: np.ndarray,
    out: Batch,
) -> None:
    """Fill `out`, whose arrays have one leading axis [B], with the windows that start at the rows `index` [B].

    Args:
      heads: [lanes] rows ever added to each lane.
      n: most rewards in a value target; K is read from `out.action`.
      gamma: γ per environment step.
      state: [1] uint64 of the random actions past an episode's end.
    """
    lanes = heads.shape[0]
    size, unroll = out.action.shape
    players = rows.reward.shape[1]
    actions = rows.policy.shape[1]
    span = unroll + n
    reward = np.zeros((span + 1, players))
    discount = np.zeros(span + 1)
    partial = np.zeros(players)
    wants_observation = out.bootstrap_observation.shape[2] > 0
    for b in range(size):
        lane, first = index[b] % lanes, index[b] // lanes
        base = lane * capacity
        last = steps_to_end(rows.flags, base, capacity, first, min(span, heads[lane] - 1 - first))
        end = base + (first + last) % capacity
        over = rows.flags[end] & FINAL != 0 and rows.flags[end] & TERMINATED != 0
        for i in range(last):
            row = base + (first + i) % capacity
            discount[i] = 0.0 if rows.flags[row] & TERMINATED else gamma
            for p in range(players):
                reward[i, p] = rows.reward[row, p]
        for k in range(unroll + 1):
            real = k < last
            row = base + (first + min(k, last)) % capacity
            copy_row(out.observation[b, k], rows.observation, row)
            out.observation_mask[b, k] = k <= last
            out.value_mask[b, k] = real or over
            out.to_play[b, k] = rows.to_play[row]
            copy_row(out.legal[b, k], rows.legal, row)
            mass = 0.0
            for a in range(actions):
                target = rows.policy[row, a] if real else np.float32(0.0)
                out.policy_target[b, k, a] = target
                mass += target
            out.policy_mask[b, k] = mass > 0.0
            if k < unroll:
                out.step_mask[b, k] = real or over
                out.action[b, k] = rows.action[row] if real else random_below(state, actions)
                out.continues[b, k] = 0.0 if over and k >= last - 1 else 1.0
                for p in range(players):
                    out.reward[b, k, p] = reward[k, p] if real else 0.0
            weight, bootstrap = 0.0, last
            partial[:] = 0.0
            if real:
                weight, bootstrap = n_step_return(reward, discount, k, n, last, partial)
            row = base + (first + min(bootstrap, last)) % capacity
            out.bootstrap_discount[b, k] = weight
            out.bootstrap_mask[b, k] = True
            for p in range(players):
                value = rows.value[row, p] if weight > 0.0 else np.float32(0.0)
                if np.isnan(value):
                    out.bootstrap_mask[b, k] = False
                    value = np.float32(0.0)
                out.partial_return[b, k, p] = partial[p]
                out.bootstrap_value[b, k, p] = value
            if wants_observation:
                copy_row(out.bootstrap_observation[b, k], rows.observation, row)
