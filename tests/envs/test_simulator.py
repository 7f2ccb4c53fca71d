"""A game's rules by the batch say what the environment says, and change no state that they were given."""

from __future__ import annotations

import numpy as np
import pytest

from muzen.envs import OpenSpielSimulator, make
from muzen.errors import EnvError, UnsupportedSpaceError

pyspiel = pytest.importorskip("pyspiel")

# Boards, moves in a row, and a single player who is paid at every step.
GAMES = (
    "tic_tac_toe",
    "connect_four(rows=4,columns=5)",
    "mancala",
    "othello",
    "cliff_walking",
)


def lines_of_play(env, games, seed=0):
    """Steps of random games, each with the action that follows; None after the last."""
    random = np.random.default_rng(seed)
    for game in range(games):
        now = env.reset(game)
        while not now.terminated:
            action = int(random.choice(np.flatnonzero(now.legal)))
            before, now = now, env.step(action)
            yield before, action, now


@pytest.mark.parametrize("game", GAMES)
def test_a_simulator_says_what_the_environment_says_before_and_after_every_move(game):
    name = f"openspiel:{game}"
    steps = list(lines_of_play(make(name), 3))
    simulator = OpenSpielSimulator(name)
    texts = [str(before.state) for before, _, _ in steps]
    seen = simulator.look([before.state for before, _, _ in steps])
    found = simulator.step([before.state for before, _, _ in steps], np.array([a for _, a, _ in steps], np.int32))
    for i, (before, _, after) in enumerate(steps):
        for said, step in ((seen, before), (found, after)):
            np.testing.assert_array_equal(said.observation[i], step.observation)
            assert said.to_play[i] == step.to_play and said.terminated[i] == step.terminated
            np.testing.assert_array_equal(said.legal[i], step.legal & (not step.terminated))
        np.testing.assert_array_equal(found.reward[i], after.reward)
        assert str(found.state[i]) == str(after.state)
    assert not seen.reward.any()
    assert texts == [str(before.state) for before, _, _ in steps], "a state was changed"
    assert found.terminated.sum() == 3


def test_a_state_that_is_over_stays_as_it_is_and_pays_no_more():
    simulator = OpenSpielSimulator("openspiel:tic_tac_toe")
    (won,) = simulator.replay([[0, 3, 1, 4, 2]])
    found = simulator.step([won, won], np.array([5, 0], np.int32))
    assert found.state[0] is won and found.terminated.all()
    assert not found.reward.any() and not found.legal.any()


def test_replay_leads_where_the_moves_lead():
    simulator = OpenSpielSimulator("openspiel:connect_four")
    states = simulator.replay([[], [3], [3, 3, 2, 0]])
    assert [state.history() for state in states] == [[], [3], [3, 3, 2, 0]]


def test_a_game_with_chance_is_looked_at_and_never_moved_on():
    simulator = OpenSpielSimulator("openspiel:pig")
    now = make("openspiel:pig").reset(0)
    assert simulator.look([now.state]).legal.tolist() == [now.legal.tolist()]
    with pytest.raises(UnsupportedSpaceError, match=r"openspiel:pig: has chance, and a search with its rules"):
        simulator.step([now.state], np.array([0], np.int32))


def test_what_is_no_game_has_no_known_rules():
    with pytest.raises(EnvError, match="CartPole-v1: only the rules of a game named openspiel:GAME are known"):
        OpenSpielSimulator("CartPole-v1")
