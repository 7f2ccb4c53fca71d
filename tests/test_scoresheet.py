"""Records made from OpenSpiel's games lead back to the same states and returns, or are called damaged."""

import dataclasses

import numpy as np
import pytest

from muzen.errors import RunDamagedError, UnknownEnvError
from muzen.runs import read_games, write_games
from muzen.scoresheet import replay, write_down

pyspiel = pytest.importorskip("pyspiel")


def played(game, seed=0, plies=10_000):
    """A random game, or its first plies."""
    random = np.random.default_rng(seed)
    state = pyspiel.load_game(game).new_initial_state()
    while not state.is_terminal() and len(state.full_history()) < plies:
        state.apply_action(int(random.choice(state.legal_actions())))
    return state


@pytest.mark.parametrize(
    "game",
    ["tic_tac_toe", "connect_four(rows=5)", "pig(players=3,winscore=20)", "mancala", "backgammon", "chess", "2048"],
)
def test_a_record_replays_to_the_same_states_and_returns(game, tmp_path):
    state = played(game, seed=3)
    record = write_down(state, [f"p{i}" for i in range(state.num_players())], comments={0: {"value": 0.5}})
    (record,) = read_games(write_games(tmp_path / "games.jsonl", [record]))
    states = list(replay(record))
    assert len(states) == len(record.actions) + 1
    assert states[0].is_initial_state() and str(states[-1]) == str(state)
    assert record.returns == tuple(states[-1].returns()) == tuple(state.returns())
    assert record.comments[0] == {"value": 0.5} and not any(record.comments[1:])
    for before, action, move in zip(states, record.actions, record.moves, strict=False):
        assert before.action_to_string(before.current_player(), action) == move


def test_chance_is_marked_and_a_game_broken_off_has_no_returns():
    state = played("pig", plies=6)
    record = write_down(state, ["a", "b"], info={"seed": 1})
    assert -1 in record.movers and record.returns is None and record.info == {"seed": 1} and record.comments == ()
    assert str(list(replay(record))[-1]) == str(state)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"returns": (0.0, 0.0)}, "lead to returns"),
        ({"returns": None}, "lead to returns"),
        ({"players": ("a", "b", "c"), "returns": None}, "names 3 players, the game has 2"),
        ({"movers": (1, 0, 1, 0, 1)}, "action 1 is player 1's, but player 0 moves"),
        ({"actions": (4, 4, 2, 1, 6)}, r"action 2 \(4\) is not legal"),
        ({"actions": (4, 0, 2, 1, 99)}, r"action 5 \(99\) is not legal"),
        ({"moves": ("x(1,1)", "zz", "x(0,2)", "o(0,1)", "x(2,0)")}, r"action 2 \(0\) is the move .* it says 'zz'"),
    ],
)
def test_a_record_that_the_game_contradicts_is_damaged(change, said):
    state = pyspiel.load_game("tic_tac_toe").new_initial_state()
    for action in (4, 0, 2, 1, 6):
        state.apply_action(action)
    record = dataclasses.replace(write_down(state, ["a", "b"]), **change)
    with pytest.raises(RunDamagedError, match=said):
        list(replay(record))


def test_a_game_that_goes_on_after_its_end_is_damaged():
    state = pyspiel.load_game("tic_tac_toe").new_initial_state()
    for action in (4, 0, 2, 1, 6):
        state.apply_action(action)
    record = write_down(state, ["a", "b"])
    longer = dataclasses.replace(
        record, actions=(*record.actions, 3), movers=(*record.movers, 1), moves=(*record.moves, "o(1,0)")
    )
    with pytest.raises(RunDamagedError, match="goes on after its end, with action 6"):
        list(replay(longer))


def test_a_record_of_a_game_that_there_is_not_names_the_nearest():
    record = dataclasses.replace(write_down(played("tic_tac_toe"), ["a", "b"]), game="tic_tac_to()")
    with pytest.raises(UnknownEnvError, match="tic_tac_toe"):
        list(replay(record))
