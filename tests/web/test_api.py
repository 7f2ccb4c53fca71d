"""The page's JSON interface without a socket: games, moves, two tabs, and requests that make no sense."""

from __future__ import annotations

import concurrent.futures
import json
import threading

import pytest

pyspiel = pytest.importorskip("pyspiel")

from playing import SIMULATIONS, is_sum_of, session  # noqa: E402

from muzen.web.api import Api, ApiError  # noqa: E402
from muzen.web.tables import Tables  # noqa: E402

SEEDED = {"seed": 7}


def api(game="openspiel:tic_tac_toe", **options):
    return Api(Tables(lambda **given: session(game, **{**options, **given})))


@pytest.fixture
def played():
    """An interface and a game in which the person has made the first move."""
    asked = api()
    game = asked.answer("POST", "/api/games", {})
    return asked, asked.answer("POST", f"/api/games/{game['id']}/move", {"action": 4, "version": 0})


def refused(asked, method, path, body=None):
    with pytest.raises(ApiError) as error:
        asked.answer(method, path, body)
    said = error.value
    assert set(said.body["error"]) == {"kind", "message"} and said.body["error"]["message"]
    json.dumps(said.body)
    return said


def test_a_game_is_all_that_a_page_needs_to_draw():
    game = api().answer("POST", "/api/games", {})
    assert game["players"] == ["player 1 (x)", "player 2 (o)"] and game["simulations"] == SIMULATIONS
    assert (game["seat"], game["ply"], game["over"], game["agents_turn"]) == (0, 0, False, False)
    assert game["legal"][4] == {"action": 4, "name": "x(1,1)"}
    assert game["board"]["cells"] == (("",) * 3,) * 3 and game["board"]["touched"]["4"] == (None, (1, 1))
    assert json.loads(json.dumps(game))


def test_a_move_is_answered_by_a_reply_that_the_page_asks_for(played):
    asked, game = played
    assert game["agents_turn"] and game["ply"] == 1 and game["board"]["last"] == [(1, 1)]
    game = asked.answer("POST", f"/api/games/{game['id']}/reply", {"version": 1})
    assert game["ply"] == 2 and not game["agents_turn"] and [m["player"] for m in game["moves"]] == [0, 1]
    assert game["chances"][1] is not None


def test_a_page_that_goes_away_and_comes_back_finds_its_game(played):
    asked, game = played
    assert asked.answer("GET", f"/api/games/{game['id']}") == game


def test_a_position_tells_what_the_agent_thinks_there(played):
    asked, game = played
    place = asked.answer("GET", f"/api/games/{game['id']}/positions/0")
    thought = place["analysis"]
    assert is_sum_of((move["visits"] for move in thought["moves"]), SIMULATIONS)
    assert is_sum_of((move["policy"] for move in thought["moves"]), 1) and is_sum_of(thought["chance"], 1)
    assert thought["line"][0] == next(m["name"] for m in thought["moves"] if m["action"] == thought["action"])
    assert place["board"]["cells"] == (("",) * 3,) * 3 and place["chances"][0] == list(thought["chance"])


def test_the_end_of_a_game_has_no_thoughts_and_an_outcome():
    asked = api()
    game = asked.answer("POST", "/api/games", {"moves": [0, 3, 1, 4, 2]})
    assert game["over"] and game["outcome"] == "You have won" and game["legal"] == []
    assert asked.answer("GET", f"/api/games/{game['id']}/positions/5")["analysis"] is None
    assert game["chances"][-1] == [1, 0]


def test_taking_back_and_settings(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    assert asked.answer("POST", f"{path}/back", {"version": 1})["ply"] == 0
    game = asked.answer("POST", f"{path}/settings", {"seat": 1, "simulations": 5})
    assert game["seat"] == 1 and game["simulations"] == 5 and game["agents_turn"]
    assert asked.answer("POST", f"{path}/settings", {"seat": None})["seat"] is None


def test_settings_are_taken_all_or_none(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    assert (
        "seat: 9" in refused(asked, "POST", f"{path}/settings", {"seat": 9, "simulations": 5}).body["error"]["message"]
    )
    assert asked.answer("GET", path)["simulations"] == SIMULATIONS


def test_two_tabs_cannot_make_the_same_move_twice(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    asked.answer("POST", f"{path}/reply", {"version": 1})
    for what, body in (("reply", {"version": 1}), ("move", {"action": 0, "version": 0}), ("back", {"version": 1})):
        said = refused(asked, "POST", f"{path}/{what}", body)
        assert said.status == 409 and said.body["game"]["ply"] == 2
    assert asked.answer("GET", path)["ply"] == 2


def test_a_page_that_shows_another_line_of_the_same_length_cannot_move_in_it(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    seen = asked.answer("POST", f"{path}/reply", {"version": 1})
    asked.answer("POST", f"{path}/back", {"version": 2})
    asked.answer("POST", f"{path}/move", {"action": 0, "version": 3})
    now = asked.answer("POST", f"{path}/reply", {"version": 4})
    assert now["ply"] == seen["ply"] and now["moves"] != seen["moves"]
    free = next(move["action"] for move in now["legal"] if move["action"] != 4)
    said = refused(asked, "POST", f"{path}/move", {"action": free, "version": seen["version"]})
    assert said.status == 409 and said.body["game"] == now


@pytest.mark.parametrize("action", ["move", "settings", "back"])
def test_nothing_waits_for_what_the_agent_thinks_of_the_persons_turn(played, monkeypatch, action):
    asked, game = played
    path = f"/api/games/{game['id']}"
    asked.answer("POST", f"{path}/reply", {"version": 1})
    thinks, done = threading.Event(), threading.Event()
    session, free = asked.tables.find(game["id"]).session, asked.answer("GET", path)["legal"][0]["action"]
    think = session.think

    def slow(position):
        thinks.set()
        assert done.wait(30)
        return think(position)

    monkeypatch.setattr(session, "think", slow)
    bodies = {"move": {"action": free, "version": 2}, "settings": {"simulations": 3}, "back": {"version": 2}}
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        place = pool.submit(asked.answer, "GET", f"{path}/positions/2")
        assert thinks.wait(30)
        try:
            now = asked.answer("POST", f"{path}/{action}", bodies[action])
        finally:
            done.set()
        assert now["ply"] == {"move": 3, "settings": 2, "back": 0}[action]
        if action == "back":  # there is no such position any more
            with pytest.raises(ApiError, match="moved on") as error:
                place.result()
            assert error.value.body["game"] == now
        else:
            assert is_sum_of((m["visits"] for m in place.result()["analysis"]["moves"]), now["simulations"])


def test_a_move_that_the_agent_is_thinking_about_may_be_taken_back(played, monkeypatch):
    asked, game = played
    path, session = f"/api/games/{game['id']}", asked.tables.find(game["id"]).session
    think = session.think

    def meanwhile(position):
        asked.answer("POST", f"{path}/back", {"version": 1})
        return think(position)

    monkeypatch.setattr(session, "think", meanwhile)
    said = refused(asked, "POST", f"{path}/reply", {"version": 1})
    assert said.status == 409 and said.body["game"]["ply"] == 0


def test_an_illegal_move_says_the_legal_ones_and_changes_nothing(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    game = asked.answer("POST", f"{path}/reply", {"version": 1})
    for action in (4, 99, -1, 10**30):
        said = refused(asked, "POST", f"{path}/move", {"action": action, "version": 2})
        assert said.status == 400 and "legal: x(" in said.body["error"]["message"]
    assert asked.answer("GET", path) == game


def test_a_lost_game_is_brought_back_by_its_seed_and_moves():
    asked = api("openspiel:pig")
    game = asked.answer("POST", "/api/games", {"seed": 11})
    path = f"/api/games/{game['id']}"
    for ply in range(3):
        game = asked.answer("POST", f"{path}/{'move' if not game['agents_turn'] else 'reply'}",
                            {"version": ply} | ({} if game["agents_turn"] else {"action": 0}))  # fmt: skip
    kept = {"seed": game["seed"], "seat": game["seat"], "simulations": game["simulations"]}
    moves = [move["action"] for move in game["moves"] if move["player"] >= 0]
    again = api("openspiel:pig").answer("POST", "/api/games", {**kept, "moves": moves})
    assert again["moves"] == game["moves"] and again["text"] == game["text"] and again["id"] != game["id"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("DELETE", "/api/games", None, 405, "use GET, POST"),
        ("PUT", "/api/games", {}, 405, "use GET, POST"),
        ("GET", "/api/nothing", None, 404, "nothing at this address"),
        ("GET", "/api/games/none", None, 404, "no such game"),
        ("POST", "/api/games/none/move", {"action": 0, "version": 0}, 404, "no such game"),
        ("GET", "/api/games/../../etc/passwd", None, 404, "nothing at this address"),
        ("POST", "/api/games", None, 400, "not a JSON object"),
        ("POST", "/api/games", [], 400, "not a JSON object"),
        ("POST", "/api/games", {"sead": 1}, 400, "sead: unknown field"),
        ("POST", "/api/games", {"seat": "x"}, 400, "seat: x is of the wrong type"),
        ("POST", "/api/games", {"seat": 2}, 400, "seat: 2 is not one of 0..1"),
        ("POST", "/api/games", {"simulations": 10**12}, 400, "simulations: 1000000000000 is not"),
        ("POST", "/api/games", {"seed": -1}, 400, "seed: -1 is not from 0"),
        ("POST", "/api/games", {"moves": [0, 0]}, 400, "0: is not a legal move at ply 1"),
        ("POST", "/api/games", {"moves": ["0"]}, 400, "moves: is not a list"),
        ("POST", "/api/games", {"moves": [0] * 30_000}, 400, "moves: is not a list of at most"),
    ],
)
def test_requests_that_make_no_sense_are_refused(method, path, body, status, said):
    asked = api()
    error = refused(asked, method, path, body)
    assert error.status == status and said in error.body["error"]["message"]
    assert len(asked.tables) == 0


@pytest.mark.parametrize("body", [{}, {"version": 1}, *({"action": x, "version": 1} for x in ("4", True, 4.0))])
def test_a_move_without_its_fields_is_refused(played, body):
    asked, game = played
    assert refused(asked, "POST", f"/api/games/{game['id']}/move", body).status == 400


def test_a_turn_out_of_order_is_refused(played):
    asked, game = played
    path = f"/api/games/{game['id']}"
    said = refused(asked, "POST", f"{path}/move", {"action": 0, "version": 1})
    assert said.status == 409 and "not your turn" in said.body["error"]["message"] and said.body["game"] == game
    said = refused(asked, "GET", f"{path}/positions/5")
    assert said.status == 409 and said.body["game"] == game


def test_a_game_is_kept_in_the_run_folder(tmp_path):
    asked = api(run=tmp_path)
    game = asked.answer("POST", "/api/games", {})
    game = asked.answer("POST", f"/api/games/{game['id']}/save", {})
    assert game["kept"] == str(tmp_path / "games" / "play-1.jsonl")
    assert refused(api(), "POST", "/api/games", {"moves": [9]}).status == 400


def test_the_games_of_a_server_are_bounded_and_the_one_idle_longest_makes_room():
    now = [0.0]
    tables = Tables(session, most=3, idle_s=100, clock=lambda: now[0])
    first, second, third = (tables.open([]) for _ in range(3))
    now[0] = 1
    assert tables.find(first.id) is first
    now[0] = 2
    fourth = tables.open([])
    assert len(tables) == 3
    assert tables.find(second.id) is None or tables.find(third.id) is None
    assert tables.find(first.id) is first and tables.find(fourth.id) is fourth
    now[0] = 103
    assert tables.find(first.id) is None and len(tables) == 0


def test_a_game_without_a_board_is_text_and_moves():
    game = api("openspiel:pig").answer("POST", "/api/games", {})
    assert game["board"] is None and "Scores: 0 0" in game["text"]
    assert [move["name"] for move in game["legal"]] == ["roll", "stop"]


def test_three_players_have_three_chances():
    asked = api("openspiel:pig(players=3)")
    game = asked.answer("POST", "/api/games", {"seat": 2})
    assert game["agents_turn"] and len(game["players"]) == 3
    chance = asked.answer("GET", f"/api/games/{game['id']}/positions/0")["analysis"]["chance"]
    assert len(chance) == 3 and is_sum_of(chance, 1)


def test_the_first_game_has_the_seed_of_the_command_and_all_say_what_that_asked_for():
    asked = Api(Tables(session, seed=3, asked="side 2"))
    first, second = (asked.answer("POST", "/api/games", {}) for _ in range(2))
    assert (first["seed"], second["seed"]) == (3, 7) and first["asked"] == second["asked"] == "side 2"
    chosen = Api(Tables(session, seed=3)).answer("POST", "/api/games", {"seed": 5})
    assert chosen["seed"] == 5
    assert asked.answer("GET", "/api/games") == {"asked": "side 2"} and len(asked.tables) == 2
