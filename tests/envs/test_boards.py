"""Boards read from a game's text, and the cells of a move read from what it does."""

from __future__ import annotations

import numpy as np
import pytest

pyspiel = pytest.importorskip("pyspiel")

from muzen.envs import Touch, board_reader  # noqa: E402

BOARDS = {
    "tic_tac_toe": (3, 3),
    "mnk(m=4,n=6,k=3)": (6, 4),
    "connect_four(rows=5,columns=6)": (5, 6),
    "othello": (8, 8),
    "breakthrough": (8, 8),
    "chess": (8, 8),
    "go(board_size=9)": (9, 9),
    "checkers": (8, 8),
    "amazons": (10, 10),
    "hex(num_cols=4,num_rows=6)": (6, 4),
    "clobber": (5, 6),
    "lines_of_action": (8, 8),
    "gomoku(size=9)": (9, 9),
    "pentago": (6, 6),
    "2048": (4, 4),
}


def played(name, plies, seed=0):
    """States of a game played at random."""
    state, random = pyspiel.load_game(name).new_initial_state(), np.random.default_rng(seed)
    for _ in range(plies):
        if state.is_terminal():
            return
        if state.is_chance_node():
            state.apply_action(state.chance_outcomes()[0][0])
            continue
        yield state
        state.apply_action(int(random.choice(state.legal_actions())))


@pytest.mark.parametrize(("name", "shape"), BOARDS.items())
def test_a_game_whose_text_is_a_grid_has_a_board_at_every_position(name, shape):
    reader = board_reader(f"openspiel:{name}")
    assert reader is not None and reader.shape == shape
    for state in played(name, 60):
        board = reader.read(state)
        assert board.shape == shape and len(board.row_labels) in (0, shape[0])
        assert len(board.column_labels) in (0, shape[1])


@pytest.mark.parametrize("name", ["pig", "mancala", "backgammon", "dots_and_boxes", "nim", "havannah", "oware"])
def test_a_game_whose_text_is_no_grid_has_no_board(name):
    assert board_reader(f"openspiel:{name}") is None


@pytest.mark.parametrize("name", ["tic_tac_toe", "othello", "go(board_size=9)", "hex(board_size=5)"])
def test_the_board_agrees_with_the_observation(name):
    """OpenSpiel's own planes count the same pieces."""
    reader = board_reader(f"openspiel:{name}")
    for state in played(name, 40, seed=1):
        occupied = np.array([[bool(cell) for cell in row] for row in reader.read(state).cells])
        planes = np.array(state.observation_tensor(0)).reshape(-1, *reader.shape)
        empty = {"tic_tac_toe": 0, "othello": 0, "go(board_size=9)": 2, "hex(board_size=5)": 4}[name]
        turn = -1 if name.startswith("go") else 1  # its planes begin with row 1, its text ends with it
        np.testing.assert_array_equal(occupied[::turn], planes[empty] == 0)


@pytest.mark.parametrize("name", ["tic_tac_toe", "othello"])
def test_a_placing_move_touches_the_cell_of_its_number(name):
    reader = board_reader(f"openspiel:{name}")
    for state in played(name, 40):
        for action, touch in reader.touched(state).items():
            assert touch == Touch(None, divmod(action, reader.shape[1]))


def test_a_dropped_piece_touches_where_it_lands():
    reader = board_reader("openspiel:connect_four")
    assert reader.drops
    for state in played("connect_four", 40):
        cells = reader.read(state).cells
        for action, touch in reader.touched(state).items():
            free = [r for r in range(6) if not cells[r][action]]
            assert touch == Touch(None, (max(free), action))


@pytest.mark.parametrize("name", ["breakthrough", "clobber", "lines_of_action", "checkers"])
def test_a_moved_piece_touches_the_cells_that_its_name_says(name):
    reader = board_reader(f"openspiel:{name}")
    for state in played(name, 120):
        board = reader.read(state)
        touched = reader.touched(state)
        assert len(touched) == len(state.legal_actions())
        for action, touch in touched.items():
            text = state.action_to_string(state.current_player(), action).replace("-", "").replace("x", "")
            cells = [(board.row_labels.index(text[i + 1]), board.column_labels.index(text[i])) for i in range(0, 4, 2)]
            assert [touch.source, touch.target] == cells


def test_chess_moves_are_read_castling_promotion_and_en_passant_included():
    reader = board_reader("openspiel:chess")

    def touched(fen):
        state = pyspiel.load_game("chess").new_initial_state(fen)
        touches = reader.touched(state).items()
        names = {state.action_to_string(state.current_player(), a).rstrip("+#"): touch for a, touch in touches}
        assert len(names) == len(state.legal_actions())
        return names

    assert touched("r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1")["O-O"] == Touch((7, 4), (7, 6))
    assert touched("r3k2r/8/8/8/8/8/8/R3K2R b KQkq - 0 1")["O-O-O"] == Touch((0, 4), (0, 2))
    assert touched("4k3/P7/8/8/8/8/8/4K3 w - - 0 1")["a8=Q"] == Touch((1, 0), (0, 0))
    assert touched("1n2k3/P7/8/8/8/8/8/4K3 w - - 0 1")["axb8=N"] == Touch((1, 0), (0, 1))
    assert touched("4k3/8/8/pP6/8/8/8/4K3 w - a6 0 1")["bxa6"] == Touch((3, 1), (2, 0))
    colours = [reader.colours[reader.owners[piece]] for piece in "PKpk"]
    assert colours == ["light", "light", "dark", "dark"]


def test_a_capture_in_go_is_still_a_placed_stone():
    reader = board_reader("openspiel:go(board_size=5)")
    state = pyspiel.load_game("go(board_size=5)").new_initial_state()
    for move in ("b1", "a1", "e5", "e4"):
        names = {state.action_to_string(state.current_player(), a)[2:]: a for a in state.legal_actions()}
        state.apply_action(names[move])
    names = {state.action_to_string(state.current_player(), a)[2:]: a for a in state.legal_actions()}
    touched = reader.touched(state)
    assert touched[names["a2"]] == Touch(None, (3, 0))  # takes a1
    assert names["PASS"] not in touched


def test_pieces_belong_to_whoever_puts_them_down():
    assert board_reader("openspiel:tic_tac_toe").owners == {"x": 0, "o": 1}
    assert board_reader("openspiel:go(board_size=9)").owners == {"X": 0, "O": 1}
    amazons = board_reader("openspiel:amazons")
    assert amazons.owners["X"] == 0 and amazons.owners["O"] == 1 and "#" not in amazons.owners


def test_cells_are_called_what_moves_call_them():
    def labels(name):
        state = pyspiel.load_game(name).new_initial_state()
        board = board_reader(f"openspiel:{name}").read(state)
        return "".join(board.row_labels), "".join(board.column_labels)

    assert labels("tic_tac_toe") == ("012", "012")
    assert labels("othello") == ("12345678", "abcdefgh")
    assert labels("breakthrough") == ("87654321", "abcdefgh")
    assert labels("go(board_size=9)") == ("987654321", "abcdefghj")
    assert labels("hex(board_size=5)") == ("12345", "abcde")
    assert labels("connect_four") == ("", "0123456")
    assert board_reader("openspiel:hex(board_size=5)").slanted and not board_reader("openspiel:othello").slanted


def test_alone_people_steer_and_touch_no_cell():
    state = pyspiel.load_game("catch").new_initial_state()
    state.apply_action(0)
    assert board_reader("openspiel:catch").touched(state) == {}
