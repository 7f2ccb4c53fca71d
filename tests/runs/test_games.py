"""Records of games: they come back as written, or the message says which line is damaged."""

import dataclasses
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from muzen.errors import RunDamagedError, RunError, RunNotFoundError, RunVersionError, StorageError
from muzen.runs import GameRecord, append_games, games, games_folder, new_games_file, read_games, write_games

WON = GameRecord(
    "tic_tac_toe()",
    ("the agent", "random"),
    (4, 0, 2, 1, 6),
    (0, 1, 0, 1, 0),
    ("x(1,1)", "o(0,0)", "x(0,2)", "o(0,1)", "x(2,0)"),
    (1.0, -1.0),
    ({"value": 0.3}, {}, {"value": 0.5, "simulations": 16}, {}, {"value": 1.0}),
    {"seed": 3, "opening": 0},
)
BROKEN_OFF = GameRecord("pig(players=3)", ("a", "b", "c"), (0, 4), (0, -1), ("roll", "Roll 5"))


def changed(**fields):
    """A file's line like WON's but for some fields; `...` leaves one out."""
    data = dataclasses.asdict(WON) | fields
    return json.dumps({name: value for name, value in data.items() if value is not ...})


def file_with(path, *lines, end="\n"):
    path.write_text("\n".join(['{"muzen_games": 1}', *lines]) + end, encoding="utf-8")
    return path


def test_games_come_back_as_written(tmp_path):
    path = write_games(games_folder(tmp_path) / "played.jsonl", [WON, BROKEN_OFF])
    assert path == tmp_path / "games" / "played.jsonl"
    assert read_games(path) == [WON, BROKEN_OFF]
    assert read_games(write_games(tmp_path / "none.jsonl", [])) == []


texts = st.text(max_size=8)
comments = st.dictionaries(texts, st.none() | st.floats(allow_nan=False, allow_infinity=False) | texts, max_size=2)


@given(
    st.lists(st.tuples(st.integers(0, 5000), st.integers(-1, 1), texts, comments), max_size=5),
    st.none() | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 2),
    st.booleans(),
    st.tuples(texts, texts),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_game_comes_back_as_written(tmp_path, plies, returns, commented, players):
    actions, movers, moves, said = zip(*plies, strict=True) if plies else ((),) * 4
    record = GameRecord("go(board_size=9)", players, actions, movers, moves, returns, said if commented else ())
    assert read_games(write_games(tmp_path / "any.jsonl", [record])) == [record]


def test_appending_keeps_what_was_there_and_makes_the_file(tmp_path):
    path = append_games(tmp_path / "games" / "played.jsonl", [WON])
    append_games(path, [BROKEN_OFF, WON])
    assert read_games(path) == [WON, BROKEN_OFF, WON]


def test_a_failed_write_leaves_the_old_games(tmp_path, monkeypatch):
    path = write_games(tmp_path / "played.jsonl", [WON])

    def full(path, data):
        raise StorageError("full")

    monkeypatch.setattr(games, "write_atomic", full)
    with pytest.raises(StorageError):
        append_games(path, [BROKEN_OFF])
    assert read_games(path) == [WON]


def test_games_in_a_folder_that_cannot_be_made_are_a_storage_error(tmp_path):
    (tmp_path / "games").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_games(tmp_path / "games" / "played.jsonl", [WON])


def test_new_files_are_numbered_past_those_that_are_there(tmp_path):
    assert new_games_file(tmp_path / "games", "arena").name == "arena-1.jsonl"
    for number in (1, 2):
        path = write_games(new_games_file(tmp_path, "arena"), [WON])
        assert path.name == f"arena-{number}.jsonl" and read_games(path) == [WON]
    assert new_games_file(tmp_path, "play").name == "play-1.jsonl"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "is not a JSON object"),
        ("[1]", "is not a JSON object"),
        (changed()[:-9], "is not a JSON object"),
        (changed(game=...), "game: missing"),
        (changed(returns=...), "returns: missing"),
        (changed(gmae="go"), "gmae: unknown"),
        (changed(game=3), "game: is not of type str"),
        (changed(game=""), "must not be empty"),
        (changed(players="two"), "players: is not a list of str"),
        (changed(actions=[4, 0, 2, 1, "6"]), "actions: is not a list of int"),
        (changed(actions=[4, 0, 2, 1, True]), "actions: is not a list of int"),
        (changed(actions=[4, 0, 2, 1, -6]), "actions: -6 is below 0"),
        (changed(actions=[4]), "movers: 5 of them for 1 actions"),
        (changed(movers=[0, 1, 0, 1, 2]), "movers: each must be -1 .chance. to 1"),
        (changed(moves=["x(1,1)"]), "moves: 1 of them for 5 actions"),
        (changed(comments=[{}]), "comments: 1 of them for 5 actions"),
        (changed(comments=[{}, {}, {}, {}, "good"]), "comments: is not a list of dict"),
        (changed(returns=[1.0]), "returns: 1 of them for 2 players"),
        (changed(returns=[1.0, float("nan")]), "not all finite"),
        (changed(returns=[1, 10**400]), "too large"),
        (changed(info=[]), "info: is not of type dict"),
        (changed(info={"opening": "two"}), "info.opening: 'two' is no number of moves"),
        (changed(info={"opening": None}), "info.opening: None is no number of moves"),
        (changed(players=["a", "?"]).replace("?", "\\ud800"), "holds text that cannot be written"),
    ],
)
def test_a_damaged_line_is_named_and_says_what_is_wrong(tmp_path, line, said):
    with pytest.raises(RunDamagedError, match=rf"(?s)played\.jsonl: line 3.*{said}"):
        read_games(file_with(tmp_path / "played.jsonl", changed(), line))


def test_a_line_cut_short_is_damage_wherever_it_was_cut(tmp_path):
    path = write_games(tmp_path / "played.jsonl", [WON, BROKEN_OFF])
    whole = path.read_bytes()
    for cut in range(1, len(whole)):
        path.write_bytes(whole[:cut])
        if whole[:cut].count(b"\n") > 0 and whole[:cut].endswith(b"\n"):
            assert read_games(path) == [WON][: whole[:cut].count(b"\n") - 1]  # ends where a game ended
            continue
        with pytest.raises(RunDamagedError):
            read_games(path)
    path.write_bytes(whole[:-3])
    with pytest.raises(RunDamagedError, match="line 3 is cut short"):
        append_games(path, [WON])
    assert path.read_bytes() == whole[:-3]


@pytest.mark.parametrize(
    "text", ["", "x", "{}\n", '{"muzen_games": 0}\n', '{"muzen_games": true}\n', "\0\n", "[" * 9999]
)
def test_what_is_no_file_of_games_is_told_so(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(RunDamagedError, match=r"config\.json: is no file of games"):
        read_games(tmp_path / "config.json")


def test_a_newer_format_asks_for_an_upgrade(tmp_path):
    (tmp_path / "played.jsonl").write_text('{"muzen_games": 2}\n{"whatever": 1}\n')
    with pytest.raises(RunVersionError, match="upgrade"):
        read_games(tmp_path / "played.jsonl")


def test_a_missing_file_says_where_games_lie(tmp_path):
    with pytest.raises(RunNotFoundError, match="games/ of a run"):
        read_games(tmp_path / "none.jsonl")
    with pytest.raises(RunError):
        read_games(tmp_path)  # a folder


def test_a_record_that_contradicts_itself_cannot_be_made():
    with pytest.raises(ValueError, match="movers: 1 of them for 5 actions"):
        dataclasses.replace(WON, movers=(0,))
    with pytest.raises(ValueError, match="must not be empty"):
        dataclasses.replace(WON, players=())


@pytest.mark.parametrize("game", ["tic_tac_toe", "pig(players=3,winscore=8)", "2048(max_tile=8)"])
def test_openspiel_alone_replays_a_line(tmp_path, game):
    pyspiel = pytest.importorskip("pyspiel")
    state = pyspiel.load_game(game).new_initial_state()
    moves = []
    while not state.is_terminal() and len(moves) < 20:
        action = state.chance_outcomes()[0][0] if state.is_chance_node() else state.legal_actions()[0]
        moves.append(state.action_to_string(action))
        state.apply_action(action)
    movers, actions = zip(*((ply.player, ply.action) for ply in state.full_history()), strict=True)
    names = tuple(f"player {i}" for i in range(state.num_players()))
    path = write_games(
        tmp_path / "game.jsonl",
        [GameRecord(str(state.get_game()), names, actions, movers, tuple(moves), tuple(state.returns()))],
    )
    data = json.loads(path.read_text().splitlines()[1])
    again = pyspiel.load_game(data["game"]).new_initial_state()
    for action in data["actions"]:
        again.apply_action(action)
    assert (str(again), list(again.returns())) == (str(state), data["returns"])


def test_a_new_file_is_taken_at_once_and_holds_no_games(tmp_path):
    first, second = (new_games_file(tmp_path / "games", "arena") for _ in range(2))
    assert (first.name, second.name) == ("arena-1.jsonl", "arena-2.jsonl") and read_games(first) == []
    assert new_games_file(tmp_path / "games", "arena", 7).name == "arena-7.jsonl"
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "games"):
        with pytest.raises(StorageError):
            new_games_file(folder, "arena")
