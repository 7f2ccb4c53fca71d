"""A network averaged over a board's symmetries answers to a turned board with the turned answer, node after node."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from muzen.agent import Planner
from muzen.config import override
from muzen.envs import make, spec_of, symmetries
from muzen.experiment.parts import make_agent, make_model, make_planner
from muzen.networks import Views
from muzen.presets import preset
from muzen.search import Gumbel

pytest.importorskip("pyspiel")

GAMES = ["tic_tac_toe", "connect_four", "2048", "mancala"]
SMALL = {"network.width": 16, "network.channels": 8, "network.blocks": 1}


def random_model(env_id):
    """A model whose heads, which begin at 0, say something too."""
    spec, rng = spec_of(env_id), np.random.default_rng(0)
    model = make_model(override(preset(env_id, spec), SMALL), spec, None, None, None)

    def shaken(x):
        return x + 0.3 * rng.normal(size=x.shape).astype(np.float32) if eqx.is_inexact_array(x) else x

    return eqx.tree_at(lambda m: m.network, model, jax.tree.map(shaken, model.network)), spec


def position(env_id, moves=5, seed=3):
    """(observation [1, ...], to play [1], legal [1, A]) after some random moves."""
    env, rng = make(env_id), np.random.default_rng(seed)
    now = env.reset(seed)
    for _ in range(moves):
        now = env.step(int(rng.choice(np.flatnonzero(now.legal))))
    return now.observation[None], np.array([now.to_play]), now.legal[None]


def turned(symmetry, observation):
    return observation.reshape(1, -1)[:, symmetry.observation].reshape(observation.shape)


def assert_turned(there, here, symmetry):
    """What is said of the turned board is what is said of the board, turned."""
    close = {"rtol": 1e-4, "atol": 1e-5}
    # What action a is here, action[a] is there.
    np.testing.assert_allclose(there.policy_logits[:, symmetry.action], here.policy_logits, **close)
    np.testing.assert_array_equal(there.legal[:, symmetry.action], here.legal)
    np.testing.assert_allclose(there.value[:, symmetry.player], here.value, **close)
    np.testing.assert_allclose(there.reward[:, symmetry.player], here.reward, **close)
    np.testing.assert_allclose(there.discount, here.discount, **close)


@pytest.mark.parametrize("game", GAMES)
def test_a_turned_board_has_the_turned_answer_at_the_root_and_below(game):
    env_id = f"openspiel:{game}"
    model, spec = random_model(env_id)
    views, every = Views(model, symmetries(env_id)), symmetries(env_id)
    assert len(every) > 1
    observation, to_play, _ = position(env_id)
    root = views.initial(observation, to_play)
    lone = model.initial(observation, to_play)
    assert not np.allclose(root.policy_logits, jax.nn.log_softmax(lone.policy_logits), atol=1e-3)
    for symmetry in every:
        there = views.initial(turned(symmetry, observation), symmetry.player[to_play])
        assert_turned(there, root, symmetry)
        here = root
        for action in (0, spec.num_actions - 1, 1):
            here = views.recurrent(here.state, jnp.array([action]))
            there = views.recurrent(there.state, jnp.array([symmetry.action[action]]))
            assert_turned(there, here, symmetry)


def test_each_number_is_the_mean_of_the_views():
    env_id = "openspiel:2048"
    model, _ = random_model(env_id)
    observation, to_play, _ = position(env_id)
    found = Views(model, symmetries(env_id)).initial(observation, to_play)
    each = [model.initial(turned(symmetry, observation), to_play) for symmetry in symmetries(env_id)]
    np.testing.assert_allclose(found.value, np.mean([one.value for one in each], axis=0), rtol=1e-5)
    logits = [
        np.asarray(jax.nn.log_softmax(one.policy_logits))[:, symmetry.action]
        for one, symmetry in zip(each, symmetries(env_id), strict=True)
    ]
    np.testing.assert_allclose(found.policy_logits, np.mean(logits, axis=0), rtol=1e-5)
    legal = [np.asarray(one.legal)[:, symmetry.action] for one, symmetry in zip(each, symmetries(env_id), strict=True)]
    half = np.mean(legal, axis=0) >= 0.5
    np.testing.assert_array_equal(found.legal, half | ~half.any(-1, keepdims=True))


@pytest.mark.parametrize("path", ["xla", "host"])
@pytest.mark.parametrize("game", ["connect_four", "2048"])
def test_a_search_over_views_turns_with_the_board(game, path):
    env_id = f"openspiel:{game}"
    model, _ = random_model(env_id)
    planner = Planner(Gumbel(), 8, path=path, symmetries=symmetries(env_id))
    observation, to_play, legal = position(env_id)
    here = planner.search(model, observation, legal, to_play, jax.random.key(0))
    for symmetry in symmetries(env_id)[1:3]:
        there_legal = legal[:, np.argsort(symmetry.action)]
        there = planner.search(model, turned(symmetry, observation), there_legal, to_play, jax.random.key(0))
        np.testing.assert_allclose(np.asarray(there.policy)[:, symmetry.action], here.policy, atol=1e-4)
        np.testing.assert_array_equal(np.asarray(there.visits)[:, symmetry.action], here.visits)


@pytest.mark.parametrize(("setting", "greedy", "acting"), [("never", 1, 1), ("greedy", 8, 1), ("always", 8, 8)])
def test_who_looks_from_every_side_is_a_setting(setting, greedy, acting):
    spec = spec_of("openspiel:2048")
    config = override(preset("openspiel:2048", spec), {"search.average_views": setting})
    agent = make_agent(config, spec, None, 0, 0.0, None)  # type: ignore[arg-type]
    assert max(1, len(agent.planner.symmetries)) == greedy
    assert max(1, len(make_planner(config.search, spec, 4).symmetries)) == acting


def test_what_has_no_symmetries_is_seen_as_it_is():
    assert symmetries("CartPole-v1") == symmetries("openspiel:pig") == ()
    spec = spec_of("CartPole-v1")
    config = override(preset("CartPole-v1"), {"search.average_views": "always"})
    assert make_planner(config.search, spec, 4).symmetries == ()
