"""The whole loop, learner, replay, search and self-play, learns tasks whose answers are known exactly."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from tasks import Expected, Hidden, Learned, Solved, Tabular, corridors, learned, patience, random_task, unrolled

from muzen import learner
from muzen.envs import one_hot_past

pytestmark = pytest.mark.slow

# In units of the largest value.
TOLERANCE = 0.03
GAMMA = 0.9
# A task whose best actions are not those that pay best at once, none of them a close call; and it can be ended.
TASK = random_task(51)
FIRST_STEPS = {"env_steps": 3_000, "act.random_steps": 1_000, "learn.discount": GAMMA}


def true_unroll(task: Tabular, actions: np.ndarray, gamma: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """[M, S, K] reward and discount of every step from every state, and true where the episode still goes on."""
    at = np.repeat(np.arange(len(task.reward))[:, None], len(actions), axis=1)
    going, found = np.ones(at.shape, bool), []
    for action in actions.T:
        ends = task.ends[at, action]
        found.append((task.reward[at, action], gamma * ~ends, going))
        going, at = going & ~ends, task.following[at, action]
    reward, discount, real = (np.stack(x, axis=-1) for x in zip(*found, strict=True))
    return reward, discount, real


@pytest.mark.parametrize("scale", [1000.0, *(pytest.param(x, marks=pytest.mark.long) for x in (1.0, 0.001))])
def test_a_tabular_task_is_learned_to_its_exact_solution_in_any_currency(scale, tmp_path):
    task = TASK.scaled(scale)
    agent, q = learned(task.maker(), tmp_path / "run", FIRST_STEPS).agent(), task.optimal(GAMMA)
    best, unit, found = q.argmax(1), np.abs(q).max(), Learned.of(agent)
    np.testing.assert_allclose(found.value / unit, q.max(1) / unit, atol=TOLERANCE)
    np.testing.assert_allclose(found.search_value / unit, q.max(1) / unit, atol=TOLERANCE)
    np.testing.assert_array_equal(found.action, best)
    assert found.prior[np.arange(len(best)), best].min() > 0.9

    actions = np.array(list(itertools.product(range(3), repeat=3)))
    reward, discount = unrolled(agent, actions)
    true_reward, true_discount, real = true_unroll(task, actions, GAMMA)
    np.testing.assert_allclose(reward[real] / unit, true_reward[real] / unit, atol=TOLERANCE)
    np.testing.assert_allclose(discount[real], true_discount[real], atol=TOLERANCE)


LENGTH, LONG = 12, 0.95
CORRIDORS = {
    "env_steps": 2_500,
    "act.random_steps": 500,
    "learn.discount": LONG,
    # Fewer steps than a corridor is long, in replay and in search; and no other way for a value to come back.
    "learn.n_step": 3,
    "learn.td_lambda": 1.0,
    "learn.correct_off_policy": False,
    "search.simulations": 6,
}


@pytest.mark.long
def test_a_reward_far_beyond_n_steps_is_learned_by_bootstrapping_and_only_by_it(tmp_path, monkeypatch):
    task = corridors(LENGTH)
    exact, right = task.optimal(LONG).max(1), np.arange(2, 1 + 2 * LENGTH, 2)
    found = Learned.of(learned(task.maker(), tmp_path / "run", CORRIDORS).agent())
    # Uncorrected, the network's value of the start is that of self-play, which also tries the other corridor.
    np.testing.assert_allclose(found.value[1:], exact[1:], atol=TOLERANCE)
    np.testing.assert_allclose(found.search_value, exact, atol=TOLERANCE)
    assert found.action[0] == 1 and found.prior[0, 1] > 0.9

    monkeypatch.setattr(learner, "value_target", lambda batch, target, config: batch.partial_return)
    found = Learned.of(learned(task.maker(), tmp_path / "without", CORRIDORS).agent())
    np.testing.assert_allclose(found.value[right[-3:]], exact[right[-3:]], atol=TOLERANCE)
    np.testing.assert_allclose(found.value[[0, *right[:-3]]], 0.0, atol=TOLERANCE)


def endless(limit_ends: bool) -> Tabular:
    """One state; an action pays 1 and the other ½; cut off after twenty steps."""
    return Tabular(np.zeros((1, 2), int), np.array([[0.5, 1.0]]), np.zeros((1, 2), bool), (0,), 20, limit_ends)


def test_what_a_time_limit_cuts_off_is_not_lost(tmp_path):
    settings = {"env_steps": 1_500, "act.random_steps": 500, "learn.discount": GAMMA}
    cut = Learned.of(learned(endless(False).maker(), tmp_path / "cut", settings).agent())
    np.testing.assert_allclose(cut.value, 1 / (1 - GAMMA), rtol=TOLERANCE)
    np.testing.assert_allclose(cut.search_value, 1 / (1 - GAMMA), rtol=TOLERANCE)
    assert cut.action[0] == 1
    # The same steps, told as terminations, are worth less: the network cannot know how far the limit is.
    ended = Learned.of(learned(endless(True).maker(), tmp_path / "ended", settings).agent())
    assert ended.value[0] < 0.8 / (1 - GAMMA)


@pytest.mark.long
def test_what_an_environment_hides_is_learned_from_what_was_done(tmp_path):
    task, length = patience(4), 4
    settings = {"env_steps": 2_500, "act.random_steps": 500, "learn.discount": GAMMA, "network.past_actions": length}
    run = learned(lambda: Hidden(task.maker()()), tmp_path / "run", settings)
    seen = [np.append(1.0, one_hot_past([0] + [1] * state, length, 2)) for state in range(length)]
    found = Learned.of(run.agent(), np.array(seen, np.float32))
    np.testing.assert_allclose(found.value, task.optimal(GAMMA).max(1), atol=TOLERANCE)


GAME = "openspiel:nim(pile_sizes=1;2;3,is_misere=false)"
NIM = {
    "env_steps": 4_000,
    "act.random_steps": 1_500,
    "act.random_openings": 0.8,
    "act.opening_moves": 4,
    # Few games, many looks at each: they are played at random, and all positions are seen.
    "reanalyse.positions_per_step": 16.0,
}


def test_a_game_of_two_is_learned_to_its_minimax_solution(tmp_path):
    pytest.importorskip("pyspiel")
    agent, game = learned(GAME, tmp_path / "run", NIM).agent(), Solved.of(GAME)
    said = agent.model.initial(game.observation, game.mover)
    plan = agent.planner.plan(agent.model, game.observation, game.legal, game.mover, jax.random.key(0))
    np.testing.assert_allclose(said.value, game.value, atol=TOLERANCE)
    np.testing.assert_allclose(plan.value, game.value, atol=TOLERANCE)
    assert game.best[np.arange(len(game.best)), plan.action].all()

    at, action = np.nonzero(game.legal)
    after = agent.model.recurrent(jax.tree.map(lambda x: np.asarray(x)[at], said.state), action.astype(np.int32))
    np.testing.assert_allclose(after.reward, game.reward[at, action], atol=TOLERANCE)
    np.testing.assert_allclose(after.discount, ~game.over[at, action], atol=TOLERANCE)


CHANCE = "openspiel:pig(diceoutcomes=2,winscore=4)"
PIG = {
    "env_steps": 60_000,
    "act.environments": 64,
    "act.random_openings": 0.5,
    "act.opening_moves": 6,
    "learn.samples_per_step": 4.0,
    "learn.learning_rate": 2e-3,
}
# Root mean square over all positions: those that good players hardly ever meet are known less well.
ROUGHLY = 0.2


@pytest.mark.long
def test_a_game_of_chance_is_learned_to_its_expected_values_whoever_moves_next(tmp_path):
    """Half of all rolls end the turn: what a roll is worth is a mean over positions of both players."""
    pytest.importorskip("pyspiel")
    agent, game = learned(CHANCE, tmp_path / "run", PIG).agent(), Expected.of(CHANCE)
    every, legal = np.arange(len(game.mover)), ~np.isnan(game.q)
    said = agent.model.initial(game.observation, game.mover)
    worth = np.full(game.q.shape, np.nan)
    for action in range(game.q.shape[1]):
        after = agent.model.recurrent(said.state, np.full(len(every), action, np.int32))
        worth[:, action] = np.asarray(after.reward + after.discount[:, None] * after.value)[every, game.mover]
    plan = agent.planner.plan(agent.model, game.observation, legal, game.mover, jax.random.key(0))
    lost = np.nanmax(game.q, axis=1) - game.q[every, plan.action]
    assert np.sqrt(np.mean((np.asarray(said.value)[every, game.mover] - game.value) ** 2)) < ROUGHLY
    assert np.sqrt(np.mean((worth - game.q)[legal] ** 2)) < ROUGHLY
    assert lost.mean() < ROUGHLY / 4
