"""Sequences turned by a symmetry are sequences of the turned game."""

from __future__ import annotations

import numpy as np
import pytest

from muzen.config import ReplayConfig
from muzen.replay import Replay, Rows, augment

pytest.importorskip("pyspiel")
from muzen.envs import make


def sampled(game: str = "tic_tac_toe", batch_size: int = 16):
    env, random = make(f"openspiel:{game}"), np.random.default_rng(0)
    replay = Replay(env.spec, ReplayConfig(max_steps=2000), lanes=1, seed=0)
    for episode in range(10):
        now, over = env.reset(episode), False
        while True:
            policy = random.random(env.spec.num_actions) * now.legal * (not over)
            action = int(policy.argmax())
            before, over = now, now.terminated
            if not over:
                now = env.step(action)
            replay.add(
                np.array([0]),
                Rows(
                    before.observation[None],
                    np.array([action]),
                    now.reward[None],
                    np.array([now.terminated and not over]),
                    np.array([False]),
                    np.array([over]),
                    np.array([before.to_play]),
                    before.legal[None],
                    (policy / max(policy.sum(), 1e-9))[None],
                    random.random((1, 2), np.float32),
                ),
            )
            if over:
                break
    return env, replay.sample(2, batch_size, unroll_steps=3, n_step=9, discount=1.0, bootstrap_observation=True)


def ahead(batch, i):
    """[K+1, size] the observations that the value targets of sequence i bootstrap from."""
    return batch.bootstrap_observation[i].reshape(len(batch.bootstrap_observation[i]), -1)


def test_every_part_of_a_sequence_is_turned_the_same_way():
    env, batch = sampled()
    turned = augment(batch, env.symmetries, np.random.default_rng(1))
    used = set()
    for i in np.ndindex(batch.index.shape):
        fits = [
            n
            for n, s in enumerate(env.symmetries)
            if (batch.observation[i].reshape(4, -1)[:, s.observation] == turned.observation[i].reshape(4, -1)).all()
            and (s.action[batch.action[i]] == turned.action[i]).all()
            and (batch.policy_target[i] == turned.policy_target[i][:, s.action]).all()
            and (ahead(batch, i)[:, s.observation] == ahead(turned, i)).all()
            and (batch.legal[i] == turned.legal[i][:, s.action]).all()
        ]
        assert len(fits) == 1
        used.add(fits[0])
    assert len(used) > 4
    for name in ("reward", "partial_return", "to_play", "policy_mask", "weight", "index"):
        assert getattr(turned, name) is getattr(batch, name)


def test_the_identity_alone_changes_nothing():
    env, batch = sampled()
    same = augment(batch, env.symmetries[:1], np.random.default_rng(1))
    for name in ("observation", "action", "policy_target", "legal", "bootstrap_observation"):
        np.testing.assert_array_equal(getattr(same, name), getattr(batch, name))


def test_players_who_change_places_take_what_is_theirs_along():
    env, batch = sampled("mancala")
    turned = augment(batch, env.symmetries, np.random.default_rng(1))
    mover = slice(env.spec.num_actions, None)  # of an observation: which entry says who moves
    used = set()
    for i in np.ndindex(batch.index.shape):
        exchanged = bool((turned.to_play[i] != batch.to_play[i]).any())
        used.add(exchanged)
        order = slice(None, None, -1 if exchanged else 1)
        for name in ("reward", "partial_return", "bootstrap_value", "value_target"):
            np.testing.assert_array_equal(getattr(turned, name)[i], getattr(batch, name)[i][:, order])
        for name in ("to_play", "bootstrap_to_play"):
            before = getattr(batch, name)[i]
            np.testing.assert_array_equal(getattr(turned, name)[i], 1 - before if exchanged else before)
        np.testing.assert_array_equal(turned.observation[i][:, mover], batch.observation[i][:, mover][:, order])
        assert (turned.observation[i][:, mover].argmax(-1) == turned.to_play[i]).all()
        known = batch.bootstrap_discount[i] > 0
        assert (ahead(turned, i)[known, mover].argmax(-1) == turned.bootstrap_to_play[i][known]).all()
    assert used == {False, True} and (batch.bootstrap_value != 0).any() and (batch.reward != 0).any()
