"""Recorded games on the terminal: every position without one, keys with one, and clear words for what is wrong."""

import io
import os
import select
import subprocess
import sys

import pytest
from rich.console import Console

from muzen.errors import ConfigError, RunDamagedError, RunNotFoundError
from muzen.runs import write_games
from muzen.scoresheet import write_down
from muzen.show import games_table, show

pyspiel = pytest.importorskip("pyspiel")


def played(game, actions, *, comments=None, **info):
    state = pyspiel.load_game(game).new_initial_state()
    for action in actions:
        state.apply_action(action)
    return write_down(state, ["mine", "random"], comments=comments, info=info)


@pytest.fixture
def file(tmp_path):
    games = [
        played("tic_tac_toe", (4, 0, 2, 1, 6), comments={4: {"value": 1.0}}, opening=2),
        played("pig", (0, 4, 1, 0)),
    ]
    return write_games(tmp_path / "games" / "arena-1.jsonl", games)


def shown(path, terminal=False, keys=(), **options):
    out = io.StringIO()
    keys = iter([*keys, "quit"])
    show(
        path,
        console=Console(file=out, force_terminal=terminal, width=80, highlight=False, color_system=None),
        read_key=(lambda: next(keys)) if terminal else None,
        **options,
    )
    return out.getvalue()


def test_without_a_terminal_every_position_of_every_game_is_printed(file):
    said = shown(file)
    for part in (
        "game 1 of 2: tic_tac_toe()",
        "mine (player 1) – random (player 2)",
        "the start\n...\n...\n...",
        "2 of 5: o(0,0) by random (opening)\no..\n.x.\n...",
        "5 of 5: x(2,0) by mine · value 1.0\noox\n.x.\nx..\n+1, -1",
        "game 2 of 2: pig()",
        "2 of 4: Roll 5 by chance\nScores: 0 0, Turn total: 5",
        "not finished",
    ):
        assert part in said
    assert said.count("by ") == 9


def test_one_game_may_be_asked_for(file):
    said = shown(file, game=2)
    assert "game 2 of 2" in said and "game 1 of 2" not in said


def test_with_a_terminal_keys_step_through_the_moves_and_the_games(file):
    def last(*keys):
        return shown(file, terminal=True, keys=keys).rpartition("\x1b[Hgame ")[2]

    assert "the start" in last() and "→ next" in last()
    assert "1 of 5: x(1,1) by mine" in last("next")
    assert "1 of 5" in last("next", "next", "back", "?")
    assert (
        "5 of 5" in last("last") and "5 of 5" in last("last", "next") and "the start" in last("last", "first", "back")
    )
    assert last("next", "later").startswith("2 of 2: pig") and "the start" in last("next", "later")
    assert last("later", "later", "earlier", "earlier").startswith("1 of 2")


@pytest.mark.skipif(os.name == "nt", reason="no pseudo-terminals")
def test_the_keyboard_steps_through_a_game(file):
    import pty

    main, secondary = pty.openpty()
    code = "import sys; from muzen.show import show; show(sys.argv[1])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(file)],
        stdin=secondary,
        stdout=secondary,
        stderr=subprocess.PIPE,
        env=os.environ | {"TERM": "xterm", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(secondary)
    assert b"q quit" in read_until(main, b"q quit")
    for keys, said in (
        (b"\x1b[C", b"1 of 5"),
        (b" ", b"2 of 5"),
        (b"\x1b[D", b"1 of 5"),
        (b"\x1b[B", b"pig"),
        (b"\x1b[F", b"4 of 4"),
    ):
        os.write(main, keys)
        assert said in read_until(main, said)
    os.write(main, b"q")
    read_until(main, None)
    assert process.wait(60) == 0 and process.stderr is not None and process.stderr.read() == b""
    process.stderr.close()
    os.close(main)


def read_until(descriptor, wanted):
    """What comes until `wanted` is in it, until the other side closes, or until nothing comes for a minute."""
    said = b""
    while (wanted is None or wanted not in said) and select.select([descriptor], [], [], 60)[0]:
        try:
            data = os.read(descriptor, 4096)
        except OSError:  # Linux says so of a terminal that was closed
            data = b""
        if not data:
            break
        said += data
    return said


def test_the_games_of_a_file_are_listed(file):
    console = Console(file=io.StringIO(), width=100)
    console.print(games_table(file))
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "1 mine – random 5 +1, -1" in said and "2 mine – random 3 not finished" in said


def test_chance_is_no_opening_and_names_are_no_markup(tmp_path):
    games = write_games(tmp_path / "play-1.jsonl", [played("pig", (0, 4, 1, 0))])
    assert "by chance" in shown(games) and "(opening)" not in shown(games)
    solitary = pyspiel.load_game("2048").new_initial_state()
    for action in (3, 0):
        solitary.apply_action(action)
    begun = write_games(tmp_path / "play-2.jsonl", [write_down(solitary, ["mine"])])
    assert "by chance" in shown(begun) and "(opening)" not in shown(begun)
    games.write_text(games.read_text().replace("random", "[/x]").replace("mine", "[/x]"))
    console = Console(file=io.StringIO(), width=100)
    console.print(games_table(games))
    assert "[/x]" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_game_that_is_not_there_is_told_so(file):
    for number in (0, 3, -1):
        with pytest.raises(ConfigError, match=f"game: {number} is none of the games 1 to 2"):
            shown(file, game=number)


def test_a_folder_names_its_files_of_games(file, tmp_path):
    for folder in (tmp_path, tmp_path / "games"):
        with pytest.raises(RunNotFoundError, match=r"is a folder; name one of its files of games: .*arena-1\.jsonl"):
            shown(folder)
    (tmp_path / "run").mkdir()
    with pytest.raises(RunNotFoundError, match="it has no games yet"):
        shown(tmp_path / "run")


def test_a_file_without_games_or_with_damage_is_told_so(tmp_path):
    with pytest.raises(RunNotFoundError, match="holds no games"):
        shown(write_games(tmp_path / "none.jsonl", []))
    broken = played("tic_tac_toe", (4, 0, 2))
    object.__setattr__(broken, "actions", (4, 4, 2))
    with pytest.raises(RunDamagedError, match=r"action 2 \(4\) is not legal"):
        shown(write_games(tmp_path / "broken.jsonl", [broken]))
