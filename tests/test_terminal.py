"""Playing in the terminal: through a pipe, with typing errors, to the end."""

from __future__ import annotations

import copy
import dataclasses
import io
import subprocess
import sys

import pytest

pyspiel = pytest.importorskip("pyspiel")

from playing import agent, session  # noqa: E402
from rich.console import Console  # noqa: E402

from muzen import api  # noqa: E402
from muzen.cli import main  # noqa: E402
from muzen.errors import StorageError  # noqa: E402
from muzen.terminal import Terminal, points  # noqa: E402

FOUR_TURNS = "".join(f"{move}\n" for move in range(9))


def told(text: str, game=None, error: type[BaseException] = EOFError):
    """What the terminal says to these lines, after which input ends."""
    lines = iter(text.splitlines())
    out = io.StringIO()

    def read(prompt):
        out.write(prompt)
        try:
            line = next(lines)
        except StopIteration:
            raise error from None
        out.write(line + "\n")
        return line

    game = game or session()
    console = Console(file=out, width=100, force_terminal=False, highlight=False)
    assert Terminal(game, console, read).run() == 0
    return out.getvalue()


def test_a_move_by_number_shows_the_board_and_the_reply():
    game = session()
    said = told("4\n", game)
    assert "player 1 (x), you: x(1,1)" in said and " 1 · x · \n" in said
    assert "player 2 (o), the agent: o" in said and "your chance to win, it thinks: " in said
    assert game.ply == 2


def test_an_illegal_move_is_answered_with_the_legal_ones_and_the_game_goes_on():
    game = session()
    said = told("99\nx(1,1)\nx(1,1)\nfoo\n", game)
    assert "99: is not a legal move; legal: x(0,0), x(0,1)" in said
    assert "x(1,1): is not a legal move; legal: " in said and "foo: is not a legal move" in said
    assert game.ply == 2


def test_moves_lists_names_and_numbers():
    said = told("moves\n")
    assert "0 x(0,0)" in said and "8 x(2,2)" in said


def test_hint_shows_visits_values_and_the_line():
    said = told("4\nhint\n")
    assert all(word in said for word in ("visits", "policy", "█", "expects  x(", "over the game"))


def test_back_side_simulations_and_new():
    game = session()
    said = told("4\nback\nback\nside o\nback\nsimulations 3\nnew\n", game)
    assert "nothing to take back" in said
    assert "You are player 2 (o)" in said and "player 1 (x), the agent: x" in said
    assert "now thinks for 3 simulations" in said and game.simulations == 3
    assert game.ply == 1 and game.seat == 1


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("side 9", "side: '9' is no side of openspiel:tic_tac_toe; choose one of 1, 2, x, o, watch"),
        ("side", "side: '' is no side"),
        ("simulations many", "simulations: many is not a whole number"),
        ("simulations 0", "simulations: 0 is not a whole number from 1"),
        (f"simulations {'9' * 5000}", "is not a whole number"),
        ("save", "belongs to no run folder"),
    ],
)
def test_a_command_that_makes_no_sense_is_explained(line, said):
    assert said in told(f"{line}\n")


def test_help_names_every_command():
    said = told("help\n")
    for command in ("moves", "hint", "analyse", "back", "side N", "simulations N", "new", "save", "quit"):
        assert command in said


def test_the_game_ends_with_who_has_won_and_can_be_taken_back():
    game = session()
    said = told(FOUR_TURNS + "4\nback\n", game)
    assert "You have won" in said or "layer 2 (o) has won" in said or "is a draw" in said
    assert "the game is over; `new` begins another" in said
    assert not game.over


def test_a_finished_game_is_kept_and_an_unfinished_one_on_request(tmp_path):
    assert "kept in " in told(FOUR_TURNS, session(run=tmp_path))
    assert "Left in mid-game" in told("4\n", session(run=tmp_path))
    assert told("4\nsave\nquit\n", session(run=tmp_path / "saved")).endswith("play-1.jsonl. Goodbye.\n")
    assert "not kept" in told("4\nsave\nback\n3\nquit\n", session(run=tmp_path / "and moved"))
    said = told("4\nsave\n", session(run=tmp_path))
    assert f"kept in {tmp_path / 'games' / 'play-2.jsonl'}" in said


def test_a_game_that_cannot_be_kept_leaves_no_empty_file(tmp_path, monkeypatch):
    def full(*_):
        raise StorageError("the disk is full")

    monkeypatch.setattr("muzen.play.write_games", full)
    assert "the disk is full" in told("4\nsave\nsave\n", session(run=tmp_path))
    assert not list(tmp_path.rglob("*.jsonl"))


def test_values_are_written_as_people_do():
    assert [points(x) for x in (0.12345, -12.345, 99.4, 6872.2, -1234567.0)] == [
        "0.123", "-12.3", "99.4", "6,872", "-1,234,567",
    ]  # fmt: skip


def test_a_byte_of_another_encoding_is_no_move_and_ends_nothing():
    code = "import muzen.__main__, muzen.cli as c; c.main = lambda _: print(ascii(input())) or 0; muzen.__main__.main()"
    done = subprocess.run([sys.executable, "-X", "utf8", "-c", code], input=b"\xe9\n", capture_output=True, timeout=120)
    assert (done.returncode, done.stdout.split()) == (0, [b"'\\ufffd'"]), done.stderr


@pytest.mark.parametrize("error", [EOFError, KeyboardInterrupt])
def test_the_end_of_input_and_ctrl_c_end_politely(error):
    assert told("", error=error).endswith("Goodbye.\n")
    assert "Goodbye" in told("4\n", error=error)
    assert told("quit\n").endswith("Goodbye.\n")


def test_watching_lets_the_agent_play_alone_a_move_for_every_enter():
    game = session(seat=None)
    told("\n\n\n", game)
    assert game.ply == 3


def test_chance_is_shown_and_a_game_without_a_board_is_its_text():
    said = told("roll\n", session("openspiel:pig"))
    assert "chance: Roll " in said and "Scores: 0 0" in said


def test_a_solitary_game_has_points_and_no_opponent():
    said = told("Left\nhint\n", session("openspiel:2048"))
    assert "chance: 2 added to row" in said or "chance: 4 added to row" in said
    assert "still to come, it thinks: " in said and "the agent:" not in said


def test_what_looks_like_markup_is_only_text():
    assert "[red]x[/red]: is not a legal move" in told("[red]x[/red]\n")


@pytest.fixture
def loaded(monkeypatch):
    """`muzen play` loads the agent of this game, whatever the folder."""

    def of(game="openspiel:tic_tac_toe", text=""):
        monkeypatch.setattr(api, "load", lambda folder: agent(game))
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return of


def test_muzen_play_reads_moves_from_a_pipe(loaded, capsys, tmp_path):
    loaded(text="4\nsave\n")
    assert main(["play", str(tmp_path), "--simulations", "5"]) == 0
    said = capsys.readouterr()
    assert "tic_tac_toe, 5 simulations a move" in said.out and "player 2 (o), the agent: o" in said.out
    assert (tmp_path / "games" / "play-1.jsonl").is_file() and said.err == ""


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--side", "7"], "side: '7' is no side of openspiel:tic_tac_toe"),
        (["--simulations", "0"], "simulations: 0 is not a whole number"),
        (["--game", "openspiel:connect_four"], "trained on openspiel:tic_tac_toe and cannot play it"),
        (["--game", "openspiel:tictactoe"], "did you mean openspiel:tic_tac_toe"),
        (["--web", "--port", "99999"], "port: 99999 is not from 0 to 65535"),
    ],
)
def test_muzen_play_says_what_is_wrong_with_a_flag(loaded, capsys, flags, said):
    loaded()
    assert main(["play", "here", *flags]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


def test_muzen_play_of_an_agent_of_no_game_names_muzen_record(loaded, capsys, monkeypatch):
    trained = agent("openspiel:tic_tac_toe")
    other = copy.copy(trained)
    other.spec = dataclasses.replace(trained.spec, id="CartPole-v1", players=1)
    monkeypatch.setattr(api, "load", lambda folder: other)
    assert main(["play", "here"]) == 2
    assert "CartPole-v1: is no game" in (said := capsys.readouterr().err) and "`muzen record" in said
