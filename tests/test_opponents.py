"""Opponents: as strong as OpenSpiel's exact solvers say, the same for the same seed, refused where they cannot play."""

import numpy as np
import pytest

from muzen.envs import OpenSpielEnvironment, make
from muzen.errors import ConfigError, MuzenError
from muzen.matches import Game, play
from muzen.opponents import Hold, Mcts, Minimax, opponent, split_names
from muzen.players import Position, Random

pyspiel = pytest.importorskip("pyspiel")
minimax = pytest.importorskip("open_spiel.python.algorithms.minimax")

TIC_TAC_TOE, CONNECT_FOUR = "openspiel:tic_tac_toe", "openspiel:connect_four"


def position(game, actions, seed=0):
    """The position after some actions, through the environment."""
    env = make(game)
    assert isinstance(env, OpenSpielEnvironment)
    now = env.reset(0)
    for action in actions:
        now = env.step(action)
    return Position(now, env.state, (seed,))


def games(a, b, count, game=TIC_TAC_TOE, seed=0):
    """Returns [count, 2] of a first and b second."""
    played = play(lambda: make(game), [Game(1000 * seed + i, (a, b)) for i in range(count)], max_steps=1000)
    return np.stack([one.returns for one in played])


def random_states(game, count, plies):
    rng = np.random.default_rng(5)
    loaded = pyspiel.load_game(game)
    while count:
        state = loaded.new_initial_state()
        for _ in range(rng.integers(*plies)):
            if not state.is_terminal():
                state.apply_action(int(rng.choice(state.legal_actions())))
        if not state.is_terminal():
            count -= 1
            yield state


def test_full_depth_minimax_takes_only_moves_that_an_exact_solver_calls_best():
    for state in random_states("tic_tac_toe", 8, (3, 8)):
        solved, _ = minimax.alpha_beta_search(state.get_game(), state)
        best = [
            a
            for a in state.legal_actions()
            if minimax.alpha_beta_search(state.get_game(), state.child(a), maximizing_player_id=state.current_player())[
                0
            ]
            == solved
        ]
        asked = [Position(None, state, (seed,)) for seed in range(40)]  # type: ignore[arg-type]
        assert {move.action for move in Minimax(9).choose(asked)} == set(best)


def test_full_depth_minimax_never_loses_at_tic_tac_toe():
    assert (games(Minimax(9), Random(), 3)[:, 0] >= 0).all()
    assert (games(Random(), Minimax(9), 4)[:, 1] >= 0).all()


def plain(state, depth, player):
    """Minimax without cuts: what alpha-beta must agree with."""
    if state.is_terminal():
        return state.returns()[player]
    if depth == 0:
        return 0.0
    values = [plain(state.child(a), depth - 1, player) for a in state.legal_actions()]
    return max(values) if state.current_player() == player else min(values)


@pytest.mark.parametrize(("game", "plies"), [("connect_four(rows=4,columns=5)", (4, 16)), ("mancala", (30, 60))])
def test_minimax_to_a_depth_is_plain_minimax_with_nothing_at_the_horizon(game, plies):
    told_apart = set()
    for state in random_states(game, 20, plies):
        expected = [plain(state.child(a), 2, state.current_player()) for a in state.legal_actions()]
        assert Minimax(3).values(state) == expected
        told_apart |= {depth for depth in (2, 4) if Minimax(depth).values(state) != expected}
    assert told_apart == {2, 4}


def test_minimax_sees_a_win_at_its_depth_and_not_beyond():
    wins_in_three = position(CONNECT_FOUR, [2, 0, 3, 0]).state  # two in a row, open on both sides
    assert max(Minimax(2).values(wins_in_three)) == 0 and max(Minimax(3).values(wins_in_three)) == 1


def test_minimax_weighs_chance():
    state = pyspiel.load_game("pig(winscore=8)").new_initial_state()
    for taken in (0, 5):  # a 6
        state.apply_action(taken)
    # Rolling, then stopping with 8 or more, wins unless a 1 ends the turn; stopping at once wins nothing yet.
    assert state.legal_actions() == [0, 1] and Minimax(2).values(state) == pytest.approx([5 / 6, 0.0])
    assert {m.action for m in Minimax(2).choose([Position(None, state, (i,)) for i in range(5)])} == {0}  # type: ignore[arg-type]


def test_equal_moves_are_chosen_at_random_and_the_same_for_the_same_seed():
    start = [position(CONNECT_FOUR, [], seed) for seed in range(60)]
    first, second = ([move.action for move in Minimax(2).choose(start)] for _ in range(2))
    assert first == second and set(first) == set(range(7))


def test_mcts_is_openspiels_and_stronger_with_more_simulations():
    assert (games(Mcts(1000), Random(), 10)[:, 0] >= 0).all()
    assert games(Mcts(200), Mcts(4), 20, "openspiel:connect_four(rows=4,columns=5)")[:, 0].mean() > 0.5
    winning = position(TIC_TAC_TOE, [0, 3, 1, 4])
    assert Mcts(100).choose([winning])[0].action == 2


def test_a_move_of_mcts_depends_on_its_position_and_seed_alone():
    asked = [position(CONNECT_FOUR, [3, 2], seed) for seed in range(12)]
    moves = [move.action for move in Mcts(5).choose(asked)]
    assert [Mcts(5).choose([one])[0].action for one in reversed(asked)][::-1] == moves
    assert len(set(moves)) > 1


def test_mcts_plays_games_of_three_players_and_of_chance():
    returns = play(
        lambda: make("openspiel:pig(players=3,winscore=10)"),
        [Game(i, (Mcts(20), Random(), Random())) for i in range(20)],
        max_steps=1000,
    )
    assert np.mean([game.returns[0] for game in returns]) > 0.2


@pytest.mark.parametrize(
    ("rolls", "action"),
    [([], 0), ([5, 5, 5], 0), ([5, 5, 5, 1], 1), ([5, 5, 5, 4], 1), ([5, 5, 4, 1], 0)],
)
def test_hold_at_20_rolls_until_it_has_20(rolls, action):
    state = pyspiel.load_game("pig").new_initial_state()
    for roll in rolls:
        for taken in (0, roll):
            state.apply_action(taken)
    assert Hold(20).choose([Position(None, state, (0,))])[0].action == action  # type: ignore[arg-type]


def test_hold_stops_where_it_has_won():
    state = pyspiel.load_game("pig(players=3,winscore=8)").new_initial_state()
    for taken in (1, 0, 5):  # the first player stops; the second rolls a 6, and then
        state.apply_action(taken)
    assert Hold(20).choose([Position(None, state, (0,))])[0].action == 0  # type: ignore[arg-type]
    for taken in (0, 1):  # a 2
        state.apply_action(taken)
    assert Hold(20).choose([Position(None, state, (0,))])[0].action == 1  # type: ignore[arg-type]
    state.apply_action(1)
    assert state.is_terminal() and state.returns()[1] > 0


def test_hold_at_20_beats_holding_at_4():
    assert games(Hold(20), Hold(4), 60, "openspiel:pig(winscore=60)")[:, 0].mean() > 0.1


def test_random_is_any_environments_and_the_names_are_read_back():
    assert opponent("random", "python:mine:game").name == "random"
    for name, kind in (("mcts:100", Mcts), ("minimax:5", Minimax)):
        made = opponent(name, CONNECT_FOUR)
        assert isinstance(made, kind) and made.name == name
    assert opponent("hold:20", "openspiel:pig(players=3)").name == "hold:20"
    assert split_names("random, mcts:100") == ["random", "mcts:100"]


@pytest.mark.parametrize(
    ("name", "game", "said"),
    [
        ("mtcs:100", TIC_TAC_TOE, "no opponent 'mtcs:100'; did you mean mcts:100. There are random, mcts:SIM"),
        ("minmax", TIC_TAC_TOE, "did you mean minimax:5"),
        ("stockfish", TIC_TAC_TOE, "There are random, mcts:SIMULATIONS, minimax:DEPTH, hold:POINTS"),
        ("mcts", TIC_TAC_TOE, "mcts: SIMULATIONS must be a whole number of at least 1, not nothing; write mcts:100"),
        ("minimax:0", TIC_TAC_TOE, "DEPTH must be a whole number of at least 1, not '0'"),
        ("minimax:-5", TIC_TAC_TOE, "not '-5'"),
        ("mcts:1e3", TIC_TAC_TOE, "not '1e3'"),
        ("mcts:99999999999", TIC_TAC_TOE, "SIMULATIONS must be"),
        ("random:3", TIC_TAC_TOE, "random takes no number"),
        ("hold:20", TIC_TAC_TOE, "hold:20 cannot play openspiel:tic_tac_toe: it is a strategy of pig"),
        ("minimax:3", "openspiel:pig(players=3)", "for two players"),
        ("mcts:10", "openspiel:2048", "MCTS says: Game must have terminal rewards"),
        ("mcts:10", "python:mine:game", "OpenSpiel's games only"),
        ("mcts:10", "openspiel:tic_tac_to", "did you mean openspiel:tic_tac_toe"),
    ],
)
def test_an_opponent_that_there_is_not_is_told_which_there_are(name, game, said):
    with pytest.raises(MuzenError, match=said):
        opponent(name, game)


@pytest.mark.parametrize(
    ("text", "said"), [("random,,mcts:3", "lacks a name"), ("", "lacks a name"), ("a,b,a", "twice")]
)
def test_a_list_of_opponents_is_read_strictly(text, said):
    with pytest.raises(ConfigError, match=said):
        split_names(text)
