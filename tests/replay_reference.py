"""Replay as plainly as Python can say it: lists of rows, and windows that read like the paper."""

import math

import numpy as np

from muzen.config import ReplayConfig
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec


class Row:
    def __init__(self, observation, action, reward, terminated, truncated, final, to_play, legal, policy, value):
        self.observation, self.action, self.reward = observation, action, reward
        self.terminated, self.truncated, self.final = terminated, truncated, final
        self.to_play, self.legal, self.policy, self.value = to_play, legal, policy, value


def lambda_target(lane, start, t, n, gamma, lam, correct=False, bootstrap=lambda row: row.value):
    """z of row t by its recurrence; None where a search value that it needs is not there.

    `bootstrap` says the value of the row that the target ends in.
    """
    last = end_of(lane, start)

    def value(i, left):
        if left == 0 or i >= last:
            return bootstrap(lane[i])
        own = lane[i].value
        rho = 1.0
        if correct and not np.isnan(own).any():
            rho = min(1.0, len(lane[i].policy) * lane[i].policy[lane[i].action])
        rest = 0.0 if rho == 1 else (1 - rho) * own
        return rest + (0.0 if rho == 0 else rho * outcome(i, left))

    def outcome(i, left):
        if lane[i].terminated:
            return lane[i].reward
        following = lane[i + 1].value
        share = lam if not np.isnan(following).any() else 1.0
        mean = following if share == 0 else share * value(i + 1, left - 1)
        if 0 < share < 1:
            mean = mean + (1 - share) * following
        return lane[i].reward + gamma * mean

    z = value(t, n)
    return None if np.isnan(z).any() else z


def random_lanes(rng, lanes, rows, players, actions, end=0.3, unsearched=0.2):
    """Lists of rows, episodes of random lengths that end either way, the last one left open."""
    made = []
    for _ in range(lanes):
        lane, ended = [], None
        for _ in range(int(rng.integers(0, rows + 1))):
            final = ended is not None
            ends = not final and rng.random() < end
            terminated = bool(ends and rng.random() < 0.5)
            searched = rng.random() >= unsearched
            policy = rng.dirichlet(np.ones(actions)) if searched else np.zeros(actions)
            lane.append(
                Row(
                    rng.normal(size=3).astype(np.float32),
                    0 if final else int(rng.integers(actions)),
                    np.zeros(players) if final else rng.normal(size=players),
                    terminated,
                    ends and not terminated,
                    final,
                    int(rng.integers(players)),
                    rng.random(actions) < 0.7,
                    policy,
                    rng.normal(size=players) if searched else np.full(players, np.nan),
                )
            )
            ended = None if final else (lane[-1] if ends else None)
        made.append(lane)
    return made


def end_of(lane, start):
    """Position of the row that closes the window's episode: its final row, or the lane's newest row."""
    position = start
    while position < len(lane) - 1 and not lane[position].final:
        position += 1
    return position


def window(lane, start, unroll, n, gamma):
    """Every field of a window, as a dict of lists over k; None where anything may stand."""
    last = end_of(lane, start)
    terminated = lane[last].final and lane[last - 1].terminated
    players, actions = len(lane[0].reward), len(lane[0].policy)
    nothing = np.zeros(players)
    names = (
        "observation action reward continues step_mask policy_mask value_mask observation_mask policy_target "
        "partial_return bootstrap_discount bootstrap_value bootstrap_mask to_play legal bootstrap_observation "
        "bootstrap_to_play"
    )
    out = {name: [] for name in names.split()}
    for k in range(unroll + 1):
        t = start + k
        row = lane[min(t, last)]
        out["observation"].append(row.observation)
        out["observation_mask"].append(t <= last)
        out["to_play"].append(row.to_play)
        out["legal"].append(row.legal)
        out["value_mask"].append(t < last or terminated)
        searched = t < last and row.policy.sum() > 0
        out["policy_mask"].append(searched)
        out["policy_target"].append(row.policy if searched else np.zeros(actions))

        # z_t = r_{t+1} + γ r_{t+2} + ... + γ^n ν_{t+n}, cut short at the end of the episode or of the rows
        total, discount, i = nothing.copy(), 1.0, t
        while i < last and i < t + n:
            total = total + discount * lane[i].reward
            discount = 0.0 if lane[i].terminated else discount * gamma
            i += 1
        if t >= last:
            discount = 0.0
        bootstrap = lane[min(i, last)]
        known = not math.isnan(bootstrap.value[0])
        out["partial_return"].append(total)
        out["bootstrap_discount"].append(discount)
        out["bootstrap_value"].append(bootstrap.value if discount > 0 and known else nothing)
        out["bootstrap_mask"].append(known or discount == 0)
        out["bootstrap_observation"].append(bootstrap.observation)
        out["bootstrap_to_play"].append(bootstrap.to_play)

        if k < unroll:
            out["action"].append(row.action if t < last else None)
            out["reward"].append(row.reward if t < last else nothing)
            out["step_mask"].append(t < last or terminated)
            over = terminated and t >= last
            out["continues"].append(0.0 if over or (t < last and row.terminated) else 1.0)
    return out


def spec_of(players=1, actions=3, always_legal=False):
    return EnvSpec("test", (3,), "float32", actions, players, always_legal=always_legal)


def rows_of(rows):
    """A list of reference rows as the arrays that `Replay.add` takes."""
    names = Rows._fields[: Rows._fields.index("episode")]
    return Rows(*(np.array([getattr(row, name) for row in rows]) for name in names))


def filled(lanes, spec, max_steps, **config):
    """A replay with the rows of every lane, added one row of each lane at a time."""
    replay = Replay(spec, ReplayConfig(max_steps=max_steps, **config), len(lanes), 0)
    for t in range(max(map(len, lanes))):
        present = [i for i, lane in enumerate(lanes) if t < len(lane)]
        replay.add(np.array(present), rows_of([lanes[i][t] for i in present]))
    return replay


def starts_of(lanes, capacity):
    """Ids of the rows that a window may start at, by the rules in words."""
    ids = []
    for i, lane in enumerate(lanes):
        for position in range(max(0, len(lane) - capacity), len(lane) - 1):
            if not lane[position].final:
                ids.append(position * len(lanes) + i)
    return ids


def episode(length, *, terminated, reward=1.0, value=7.0):
    """One lane: an episode of `length` steps with its final row, in whose value `value` lies."""
    lane = []
    for t in range(length + 1):
        final, ends = t == length, t == length - 1
        lane.append(_row(t, final, ends and terminated, ends and not terminated, reward, value if final else float(t)))
    return lane


def _row(t, final, terminated, truncated, reward, value):
    observation = np.full(3, t, np.float32)
    return Row(
        observation,
        t % 3,
        np.full(1, 0.0 if final else reward),
        terminated,
        truncated,
        final,
        0,
        np.ones(3, bool),
        np.full(3, 1 / 3),
        np.full(1, value),
    )
