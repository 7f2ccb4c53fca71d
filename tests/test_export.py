"""Games written as PGN and SGF, read back by the libraries of those formats."""

import io
import sys

import numpy as np
import pytest

from muzen.cli import main
from muzen.errors import ConfigError, EnvError
from muzen.export import export
from muzen.runs import write_games
from muzen.scoresheet import replay, write_down

pyspiel = pytest.importorskip("pyspiel")


def played(game: str, seed: int, plies: int, **told):
    """The record of a game of random moves."""
    random, state = np.random.default_rng(seed), pyspiel.load_game(game).new_initial_state()
    while not state.is_terminal() and len(state.history()) < plies:
        state.apply_action(int(random.choice(state.legal_actions())))
    return write_down(state, ["one", "two"], **told)


def last_state(record):
    return list(replay(record))[-1]


def test_a_game_of_chess_reads_back_as_the_same_positions(tmp_path):
    import chess.pgn

    records = [played("chess", seed, 500) for seed in range(4)] + [played("chess", 9, 31, comments={3: {"value": 0.5}})]
    export(records, tmp_path / "games.pgn")
    text = io.StringIO((tmp_path / "games.pgn").read_text())
    for record in records:
        game = chess.pgn.read_game(text)
        assert not game.errors and len(list(game.mainline())) == len(record.actions)
        # The counter and the squares of en passant are written by other habits.
        assert game.end().board().fen().split()[:3] == str(last_state(record)).split()[:3]
        assert (game.headers["White"], game.headers["Black"]) == ("two", "one")
    assert chess.pgn.read_game(text) is None
    assert list(game.mainline())[3].comment == "value 0.5"
    assert game.headers["Result"] == "*"


@pytest.mark.parametrize(
    ("moves", "result"), [(("f3", "e5", "g4", "Qh4#"), "0-1"), (("e4", "f6", "d4", "g5", "Qh5#"), "1-0")]
)
def test_who_won_at_chess_is_who_had_those_pieces(moves, result, tmp_path):
    import chess.pgn

    state = pyspiel.load_game("chess").new_initial_state()
    for move in moves:
        names = {state.action_to_string(a).rstrip("#+"): a for a in state.legal_actions()}
        state.apply_action(names[move.rstrip("#+")])
    export([write_down(state, ["one", "two"])], tmp_path / "mate.pgn")
    game = chess.pgn.read_game(io.StringIO((tmp_path / "mate.pgn").read_text()))
    assert game.headers["Result"] == result == game.end().board().result()


def test_a_game_of_go_reads_back_as_the_same_stones(tmp_path):
    from sgfmill import ascii_boards, sgf, sgf_moves

    record = played("go(board_size=5,komi=2.5)", 1, 60, comments={0: {"value": 0.25}})
    export([record], tmp_path / "game.sgf")
    game = sgf.Sgf_game.from_bytes((tmp_path / "game.sgf").read_bytes())
    board, moves = sgf_moves.get_setup_and_moves(game)
    for colour, move in moves:
        if move is not None:
            board.play(*move, colour)
    drawn = ascii_boards.render_board(board).replace("#", "X").replace("o", "O").replace(".", "+")
    ours = [line.split()[1:] for line in drawn.splitlines()[:5]]
    theirs = [list(line.split()[1]) for line in str(last_state(record)).splitlines() if line[:2].strip().isdigit()]
    assert ours == theirs and len(moves) == len(record.actions)
    assert (game.get_komi(), game.get_size(), game.get_player_name("w")) == (2.5, 5, "two")
    assert game.get_main_sequence()[1].get("C") == "value 0.25"
    assert game.get_winner() == {None: None, (1.0, -1.0): "b", (-1.0, 1.0): "w"}[record.returns]


def test_what_cannot_be_written_is_said_with_the_way_out(tmp_path, monkeypatch):
    chess, other = played("chess", 0, 10), played("tic_tac_toe", 0, 9)
    with pytest.raises(ConfigError, match=r"games\.sgf: chess\(\) cannot be written so; .*: use \.pgn"):
        export([chess], tmp_path / "games.sgf")
    with pytest.raises(ConfigError, match=r"there are \.pgn for chess, \.sgf for go: its own file"):
        export([other], tmp_path / "games.pgn")
    with pytest.raises(ConfigError, match="handicap"):
        export([played("go(handicap=2)", 0, 10)], tmp_path / "games.sgf")
    monkeypatch.setitem(sys.modules, "chess.pgn", None)
    with pytest.raises(EnvError, match=r'not installed; run: pip install "muzen\[records\]"'):
        export([chess], tmp_path / "games.pgn")
    assert not list(tmp_path.iterdir())


def test_the_command_line_exports_all_games_or_one(tmp_path, capsys):
    write_games(tmp_path / "games.jsonl", [played("chess", seed, 10) for seed in range(3)])
    for flags, games in (([], 3), (["--game", "2"], 1)):
        assert main(["show", str(tmp_path / "games.jsonl"), "--export", str(tmp_path / "out.pgn"), *flags]) == 0
        assert f"wrote {tmp_path / 'out.pgn'}" in capsys.readouterr().out.replace("\n", "")
        assert (tmp_path / "out.pgn").read_text().count("[Event ") == games
    assert main(["show", str(tmp_path / "games.jsonl"), "--export", str(tmp_path / "out.sgf")]) == 2
    assert "use .pgn" in capsys.readouterr().err.replace("\n", " ")
