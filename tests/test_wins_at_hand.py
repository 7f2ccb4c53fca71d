"""What a model knows of moves that win at once is counted against the rules themselves."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from small_runs import untaught

import muzen
from muzen.agent import Agent, Planner
from muzen.diagnose import wins_at_hand
from muzen.envs import OpenSpielSimulator
from muzen.errors import ConfigError
from muzen.types import Prediction

pyspiel = pytest.importorskip("pyspiel")

GAME = "openspiel:tic_tac_toe"
ROWS = [(0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8)]
DIAGONALS = [(0, 4, 8), (2, 4, 6)]


class Exact:
    """Tic-tac-toe; a state is the board in the mover's view. Of the ways to win it sees those it is given."""

    def __init__(self, ways: list[tuple[int, ...]], pays: float = 1.0):
        self.ways, self.pays = np.array(ways), pays

    def initial(self, observation, to_play=None):
        own, other = observation[:, 2].reshape(-1, 9), observation[:, 1].reshape(-1, 9)
        board = jnp.asarray(own - other, jnp.float32)
        return self._predict(board, jnp.zeros(len(board)), jnp.asarray(to_play))

    def recurrent(self, state, action):
        board, mover = state
        board = board.at[jnp.arange(len(board)), action].set(1.0)
        won = (board[:, self.ways] == 1).all(-1).any(-1)
        return self._predict(-board, jnp.where(won, self.pays, 0.0), 1 - mover)

    def _predict(self, board, reward, to_play):
        size = len(board)
        paid = jnp.where(jnp.arange(2) == to_play[:, None], -reward[:, None], reward[:, None])
        nothing = jnp.zeros((size, 2))
        logits = jnp.where(jnp.arange(9) == 4, 5.0, 0.0) * jnp.ones((size, 9))  # it likes the middle
        return Prediction(paid, jnp.ones(size), to_play, jnp.ones((size, 9), bool), nothing, logits, (board, to_play))


RULES = OpenSpielSimulator(GAME)
LINES = [[0, 4, 1, 7], [4, 0, 2, 1], [0, 1, 4, 2], [2, 8, 4, 1], [0, 1, 3, 2], [1, 0, 7, 3], []]


def told(model: Exact, lines=LINES, **options):
    agent = Agent(model, Planner(None, 1, simulator=RULES), RULES.spec)  # type: ignore[arg-type]
    return wins_at_hand(agent, RULES.replay(lines), **options)


def counted(depth: int) -> list[int]:
    """Winning moves that are the k-th from the positions, by trying every line."""
    counts, level = [], [state.clone() for state in RULES.replay(LINES)]
    for _ in range(depth):
        level = [state.child(action) for state in level if not state.is_terminal() for action in state.legal_actions()]
        counts.append(sum(state.is_terminal() and max(state.returns()) > 0 for state in level))
    return counts


def test_every_winning_move_is_counted_once():
    assert told(Exact(ROWS + DIAGONALS)).wins == counted(3)
    assert counted(3)[0] > 3


def test_an_exact_model_sees_every_win_and_imagines_none():
    report = told(Exact(ROWS + DIAGONALS))
    assert report.seen == [1.0] * 3 and report.imagined == [0.0] * 3


def test_a_model_that_sees_no_diagonals_misses_those_wins_alone():
    blind, other = told(Exact(ROWS)), told(Exact(DIAGONALS))
    assert (blind.seen[0], other.seen[0]) == (0.5, 0.5)  # of six wins, told by hand: three are on a diagonal
    assert 0.5 < blind.seen[2] < 1 and blind.imagined == [0.0] * 3


def test_a_reward_of_less_than_half_of_a_win_is_not_seen():
    assert told(Exact(ROWS + DIAGONALS, pays=0.4)).seen == [0.0] * 3


def test_a_model_that_takes_everything_for_a_win_imagines():
    assert told(Exact([(0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,), (8,)])).imagined == [1.0] * 3


def test_the_policys_share_is_of_legal_moves():
    """Player 0, who has 0 and 1, wins with 2, one of the five cells 2 to 6; the middle is liked."""
    report = told(Exact(ROWS), [[0, 8, 1, 7]], depth=1)
    assert report.wins == [1] and report.policy == [pytest.approx(1 / (4 + np.exp(5)), rel=1e-5)]


def test_moves_beyond_the_most_are_drawn_by_the_seed():
    few = told(Exact(ROWS), most_moves=20)
    assert few.wins == told(Exact(ROWS), most_moves=20).wins and sum(few.wins) < sum(counted(3))
    others = [told(Exact(ROWS), most_moves=20, seed=seed).wins for seed in range(1, 5)]
    assert any(wins != few.wins for wins in others)


def test_no_move_is_left_to_judge_where_every_game_is_over():
    report = told(Exact(ROWS), [[0, 1, 2, 4, 3, 5, 7, 6]])  # one cell is left
    assert report.wins[1:] == [0, 0] and np.isnan(report.seen[1:]).all()
    assert report.lines()[2].split() == ["2", "0", "-", "-", "-"]


def test_diagnosis_of_no_episodes_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="episodes: 0 is below 1; give a whole number of at least 1"):
        muzen.diagnose(tmp_path, episodes=0)


@pytest.mark.slow
@pytest.mark.parametrize(("game", "asked"), [(GAME, True), ("openspiel:pig(winscore=8)", False)])
def test_diagnosis_asks_about_the_wins_of_games_without_chance(tmp_path, game, asked):
    folder = untaught(game, tmp_path / "run")
    diagnosis = muzen.diagnose(folder, episodes=2)
    said = "\n".join(diagnosis.lines())
    assert (diagnosis.wins is not None) == asked == ("Moves that win at once" in said)
    assert (diagnosis.as_dict()["wins"] is not None) == asked
    if asked:
        assert diagnosis.wins == muzen.diagnose(folder, episodes=2).wins and diagnosis.wins.wins[0] > 0
