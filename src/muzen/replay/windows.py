"""Cut training windows out of replay: K unrolled steps from a start row, with targets and masks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from muzen.caches import kernel
from muzen.maths.returns import n_step_return
from muzen.replay.columns import FINAL, STEPS, TERMINATED, Store
from muzen.replay.kernels import copy_row
from muzen.replay.splitmix import random_below, random_unit
from muzen.types import EnvSpec


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
    partial_return: (
        np.ndarray
    )  # [K+1, P] float32, up to n discounted rewards, with λ < 1 search values too; 0 where masked
    bootstrap_discount: (
        np.ndarray
    )  # [K+1] float32 (γλ)^n, or less steps to the end; 0 past a termination or where masked
    bootstrap_value: np.ndarray  # [K+1, P] float32 search value of the bootstrap row; 0 without one
    bootstrap_mask: np.ndarray  # [K+1] false where a search value is needed but the bootstrap row has none
    bootstrap_to_play: np.ndarray  # [K+1] int32 who moves in the bootstrap row
    bootstrap_observation: np.ndarray | None  # [K+1, ...] of the bootstrap row, if asked for
    to_play: np.ndarray  # [K+1] int32
    legal: np.ndarray  # [K+1, A] bool
    weight: np.ndarray  # [] float32 importance weight, the largest of a batch 1
    probability: np.ndarray  # [] float64 P(i) with which the start was drawn, before `ends` moved it
    index: np.ndarray  # [] int64 id of the root's row
    age: np.ndarray  # [] int64 environment steps since the root's row was added

    @property
    def value_target(self) -> np.ndarray:
        """[K+1, P] z = partial return + discount × stored search value."""
        return self.partial_return + self.bootstrap_discount[..., None] * self.bootstrap_value


@kernel
def ring_place(base: int, slot: int, steps: int, capacity: int) -> int:
    """Flat place `steps` rows (fewer than a whole ring) after `slot` of the lane that begins at `base`."""
    later = slot + steps
    return base + (later if later < capacity else later - capacity)  # a division here would cost a third of the time


@kernel
def steps_to_end(flags: np.ndarray, base: int, slot: int, capacity: int, limit: int) -> int:
    """Rows from `slot` to its episode's final row, at most `limit`."""
    last = 0
    while last < limit and not flags[ring_place(base, slot, last, capacity)] & FINAL:
        last += 1
    return last


@kernel
def move_to_ends(store: Store, state: np.ndarray, index: np.ndarray, share: float, steps: int) -> None:
    """Move a random share of the starts in `index` on to where a window of `steps` steps holds their episode's end.

    So an episode is drawn in proportion to its length. Which of the steps the end is, is drawn too; but none is moved
    back, for what came before may be gone. Episodes that go on, or were cut off by a time limit, are left alone.
    """
    flags, heads, capacity = store.rows.flags, store.lanes.head, store.capacity
    lanes = heads.shape[0]
    for b in range(index.shape[0]):
        if random_unit(state) >= share:
            continue
        lane, first = index[b] % lanes, index[b] // lanes
        base, slot = lane * capacity, first % capacity
        last = steps_to_end(flags, base, slot, capacity, heads[lane] - 1 - first)
        end = flags[ring_place(base, slot, last, capacity)]
        if end & FINAL and end & TERMINATED:
            index[b] += max(0, last - 1 - random_below(state, steps)) * lanes


@kernel
def cut_windows(
    store: Store,
    index: np.ndarray,
    n: int,
    gamma: float,
    lam: float,
    correct: bool,
    state: np.ndarray,
    out: Batch,
    bootstrap_observation: np.ndarray,
) -> None:
    """Fill `out`, whose arrays have one leading axis [B], with the windows that start at the rows `index` [B].

    Args:
      n: most rewards in a value target; K is read from `out.action`.
      gamma: γ per environment step.
      lam: λ of the value target, 1 for the plain n-step return. The λ-return is the n-step return of
        rewards r + γ(1 - λ)ν and discounts γλ; a row without a search value is passed over as with λ = 1.
      correct: discount what the search would not have done: with ρ = min(1, A π(a)), π the stored search policy,
        the target is (1 - ρ)ν_t + ρ(r + γ(...)), so an unlikely action says little of its state's value
        (V-trace, arXiv:1802.01561, with a uniform policy in place of the behaviour's). A counts illegal actions too,
        so that where few are legal only very unlikely ones are doubted; counting the legal ones has not been tried.
      state: [1] uint64 of the random actions past an episode's end.
      bootstrap_observation: [B, K+1, bytes] to fill too; [B, K+1, 0] where not asked for.
    """
    rows, heads, capacity = store.rows, store.lanes.head, store.capacity
    lanes = heads.shape[0]
    size, unroll = out.action.shape
    players = rows.reward.shape[1]
    actions = rows.policy.shape[1]
    span = unroll + n
    reward, mixed = np.zeros((span + 1, players)), np.zeros((span + 1, players))
    discount = np.zeros(span + 1)
    partial = np.zeros(players)
    wants_observation = bootstrap_observation.shape[2] > 0
    for b in range(size):
        lane, first = index[b] % lanes, index[b] // lanes
        base, slot = lane * capacity, first % capacity
        last = steps_to_end(rows.flags, base, slot, capacity, min(span, heads[lane] - 1 - first))
        end = ring_place(base, slot, last, capacity)
        over = rows.flags[end] & FINAL != 0 and rows.flags[end] & TERMINATED != 0
        for i in range(last):
            row = ring_place(base, slot, i, capacity)
            discount[i] = 0.0 if rows.flags[row] & TERMINATED else gamma
            following = ring_place(base, slot, i + 1, capacity)
            share = 0.0 if np.isnan(rows.value[following, 0]) else discount[i] * (1.0 - lam)
            rho = 1.0
            if correct and not np.isnan(rows.value[row, 0]):
                rho = min(1.0, actions * rows.policy[row, rows.action[row]])
            for p in range(players):
                reward[i, p] = mixed[i, p] = rows.reward[row, p]
                if share > 0.0:
                    mixed[i, p] += share * rows.value[following, p]
                if rho < 1.0:
                    mixed[i, p] = rho * mixed[i, p] + (1.0 - rho) * rows.value[row, p]
            discount[i] = rho * (discount[i] - share)
        for k in range(unroll + 1):
            real = k < last
            row = ring_place(base, slot, min(k, last), capacity)
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
                weight, bootstrap = n_step_return(mixed, discount, k, n, last, partial)
            row = ring_place(base, slot, min(bootstrap, last), capacity)
            out.bootstrap_discount[b, k] = weight
            out.bootstrap_mask[b, k] = True
            out.bootstrap_to_play[b, k] = rows.to_play[row]
            for p in range(players):
                value = rows.value[row, p] if weight > 0.0 else np.float32(0.0)
                if np.isnan(value):
                    out.bootstrap_mask[b, k] = False
                    value = np.float32(0.0)
                out.partial_return[b, k, p] = partial[p]
                out.bootstrap_value[b, k, p] = value
            if wants_observation:
                copy_row(bootstrap_observation[b, k], rows.observation, row)


def windows(
    store: Store,
    spec: EnvSpec,
    index: np.ndarray,
    *,
    unroll_steps: int,
    n_step: int,
    discount: float,
    td_lambda: float,
    correct_off_policy: bool,
    bootstrap_observation: bool,
    state: np.ndarray,
) -> Batch:
    """The windows that start at the rows `index` [B], with one leading axis [B]; weights and probabilities are 1.

    Args are those of `Replay.sample` and `cut_windows`.
    """
    rows = store.rows
    place = index % len(store.lanes.head) * store.capacity + index // len(store.lanes.head) % store.capacity
    widths = rows.observation.shape[1], rows.legal.shape[1]
    batch, raw_bootstrap = _allocated(len(index), spec, *widths, unroll_steps, bootstrap_observation)
    batch = batch._replace(index=index, age=store.lanes.counts[STEPS] - rows.step[place])
    cut_windows(store, index, n_step, discount, td_lambda, correct_off_policy, state, batch, raw_bootstrap)
    return _as_seen(batch, raw_bootstrap, spec)


def blank(size: int, spec: EnvSpec, *, unroll_steps: int, bootstrap_observation: bool) -> Batch:
    """Windows without content, for who must know their shapes and types before anything is stored."""
    observation = np.zeros(spec.observation_shape, spec.observation_dtype).nbytes
    legal = 0 if spec.always_legal else spec.num_actions
    return _as_seen(*_allocated(size, spec, observation, legal, unroll_steps, bootstrap_observation), spec)


def _allocated(
    size: int, spec: EnvSpec, observation: int, legal: int, unroll_steps: int, bootstrap_observation: bool
) -> tuple[Batch, np.ndarray]:
    """Memory for `size` windows, observations as bytes; and for the bytes of what they bootstrap from."""
    steps, states = (size, unroll_steps), (size, unroll_steps + 1)
    actions, players = spec.num_actions, spec.players
    raw_bootstrap = np.empty((*states, observation if bootstrap_observation else 0), np.uint8)
    batch = Batch(
        observation=np.empty((*states, observation), np.uint8),
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
        bootstrap_to_play=np.empty(states, np.int32),
        bootstrap_observation=None,
        to_play=np.empty(states, np.int32),
        legal=np.empty((*states, legal), bool),
        weight=np.ones(size, np.float32),
        probability=np.ones(size),
        index=np.zeros(size, np.int64),
        age=np.zeros(size, np.int64),
    )
    return batch, raw_bootstrap


def _as_seen(batch: Batch, raw_bootstrap: np.ndarray, spec: EnvSpec) -> Batch:
    """Observations in their own shape and type, and what is legal where everything is."""
    return batch._replace(
        observation=observation_view(batch.observation, spec),
        bootstrap_observation=observation_view(raw_bootstrap, spec) if raw_bootstrap.shape[-1] else None,
        legal=np.ones(batch.policy_target.shape, bool) if spec.always_legal else batch.legal,
    )


def observation_view(raw: np.ndarray, spec: EnvSpec) -> np.ndarray:
    """[..., bytes] uint8 -> [..., *observation shape] of the same memory."""
    return raw.view(spec.observation_dtype).reshape(*raw.shape[:-1], *spec.observation_shape)
