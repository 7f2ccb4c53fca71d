"""Matches: the same openings from every seat, draws as halves, and ratings that follow."""

import numpy as np
import pytest

from muzen.envs import OpenSpielEnvironment
from muzen.errors import ConfigError
from muzen.matches import Played
from muzen.opponents import Mcts, Minimax
from muzen.players import Move, Random
from muzen.scoresheet import replay
from muzen.tournament import Opening, Pairing, games_of, match, openings, pairings, standings, tournament

pyspiel = pytest.importorskip("pyspiel")
pytest.importorskip("choix")
TIC_TAC_TOE, CONNECT_FOUR = "openspiel:tic_tac_toe", "openspiel:connect_four"


class First:
    """Takes the first legal action."""

    batch = 1

    def __init__(self, name="first"):
        self.name = name

    def choose(self, positions):
        return [Move(int(np.flatnonzero(p.now.legal)[0])) for p in positions]


def drawn(game, count, seed=0, plies=None):
    return openings(OpenSpielEnvironment(game), count, seed, plies)


def test_openings_are_two_to_four_legal_moves_that_do_not_end_the_game_and_are_not_there_twice():
    found = drawn(CONNECT_FOUR, 60)
    assert {len(opening.actions) for opening in found} == {2, 3, 4}
    positions = set()
    for opening in found:
        state = pyspiel.load_game("connect_four").new_initial_state()
        for action in opening.actions:
            assert action in state.legal_actions()
            state.apply_action(action)
        assert not state.is_terminal()
        positions.add(str(state))
    assert len(positions) == 60 and len({opening.seed for opening in found}) == 60


def test_openings_are_fixed_by_their_seed_and_a_larger_set_begins_with_a_smaller():
    assert drawn(CONNECT_FOUR, 20, seed=3) == drawn(CONNECT_FOUR, 20, seed=3)
    assert drawn(CONNECT_FOUR, 40, seed=3)[:20] == drawn(CONNECT_FOUR, 20, seed=3)
    assert drawn(CONNECT_FOUR, 20, seed=3) != drawn(CONNECT_FOUR, 20, seed=4)


def test_openings_that_the_game_has_too_few_of_are_repeated_and_marked():
    found = drawn(TIC_TAC_TOE, 12, plies=(1, 1))
    assert len({opening.actions for opening in found}) == 9
    assert sum(opening.repeated for opening in found) == 3


def test_no_opening_ends_a_game_however_short():
    short = "openspiel:mnk(m=2,n=2,k=2)"  # the third move always wins
    assert all(len(opening.actions) == 2 for opening in drawn(short, 12, plies=(2, 4)))
    with pytest.raises(ConfigError, match=r"opening_plies: 3 to 4 moves end openspiel:mnk.*0-0 for none"):
        drawn(short, 3, plies=(3, 4))


def test_without_moves_all_openings_are_one_but_for_chance():
    assert [opening.repeated for opening in drawn(TIC_TAC_TOE, 3, plies=(0, 0))] == [False, True, True]
    assert not any(opening.repeated for opening in drawn("openspiel:pig", 3))


def test_who_won_or_lost_everything_has_an_open_end():
    found = [{"games": 10, "player": a, "opponent": b, "score": s} for a, b, s in (("a", "b", 1.0), ("b", "c", 0.5))]
    ends = {one["name"]: one["open_end"] for one in standings(found)}
    assert ends == {"a": "above", "b": None, "c": None}
    found.append({"games": 10, "player": "a", "opponent": "d", "score": 0.9})
    found.append({"games": 10, "player": "d", "opponent": "e", "score": 1.0})
    ends = {one["name"]: one["open_end"] for one in standings(found)}
    assert ends == {"a": None, "b": None, "c": None, "d": None, "e": "below"}


def test_games_of_chance_begin_at_the_start_each_with_its_own_dice():
    found = drawn("openspiel:pig", 20)
    assert all(opening.actions == () and not opening.repeated for opening in found)
    assert len({opening.seed for opening in found}) == 20
    assert {len(opening.actions) for opening in drawn("openspiel:pig", 20, plies=(1, 2))} == {1, 2}


@pytest.mark.parametrize("players", [2, 3])
def test_every_opening_is_played_from_every_seat(players):
    mine, other = First("mine"), Random()
    found = games_of(Pairing(mine, other), [Opening(1, (4,)), Opening(2, (0, 1))], players)
    assert len(found) == 2 * players
    for i, game in enumerate(found):
        assert game.seats.index(mine) == i % players and game.seats.count(mine) == 1
        assert (game.seed, game.opening) == ((1, (4,)) if i < players else (2, (0, 1)))


def test_agents_meet_every_opponent_and_each_other_once():
    a, b, c, random = First("a"), First("b"), First("c"), Random()
    found = [(pair.player.name, pair.opponent.name) for pair in pairings([a, b, c], [random])]
    assert found == [("a", "random"), ("b", "random"), ("c", "random"), ("a", "b"), ("a", "c"), ("b", "c")]


def results(*returns):
    return [Played(np.array(row, float), 9, False) for row in returns]


def test_a_draw_is_half_a_win():
    pair = Pairing(First("mine"), Random())
    found = match(pair, results([1, -1], [0, 0], [-1, 1], [-1, 1]))  # won, drawn as second, lost, won as second
    assert (found["win"], found["draw"], found["loss"]) == (2, 1, 1) and found["score"] == 0.625
    assert found["seats"][0]["win"] == 1 and found["seats"][1] == {
        "seat": 1,
        "episodes": 2,
        "win": 1,
        "draw": 1,
        "loss": 0,
        "mean_return": 0.5,
    }
    low, high = found["score_ci95"]
    assert 0 < low < 0.625 < high < 1
    level = match(pair, results([0, 0], [0, 0]))
    assert level["score"] == 0.5 and standings([level])[0]["elo"] == pytest.approx(0, abs=1e-6)


def test_with_three_players_the_score_counts_each_opponent():
    found = match(Pairing(First("mine"), Random()), results([2, -1, -1], [2, -1, -1], [-1, -1, 2]))
    # Won alone; lost to one and level with the other; won alone.
    assert (found["win"], found["draw"], found["loss"]) == (2, 0, 1)
    assert found["score"] == pytest.approx((1 + 0.25 + 1) / 3)


def test_who_wins_a_third_of_the_games_of_three_scores_a_half():
    found = match(Pairing(First("mine"), Random()), results([2, -1, -1], [2, -1, -1], [2, -1, -1]))
    assert found["win"] == 1 and found["score"] == 0.5


def test_a_tournament_orders_players_by_strength_and_is_the_same_again():
    def run():
        told, kept = [], []
        result = tournament(
            pairings([Minimax(4), First()], [Random(), Mcts(50)]),
            lambda: OpenSpielEnvironment("openspiel:connect_four(rows=4,columns=5)"),
            games=9,
            seed=1,
            progress=lambda name, done, games: told.append((name, done, games)),
            on_match=lambda result, records: kept.append((len(result["matches"]), records)),
        )
        return result, told, kept

    result, told, kept = run()
    assert result["games"] == 10 and result["openings"] == result["distinct_openings"] == 5
    assert told[-1] == ("minimax:4 against first", 50, 50) and len(told) == 50
    assert [number for number, _ in kept] == [1, 2, 3, 4, 5]
    order = [one["name"] for one in result["elo"]]
    assert set(order[:2]) == {"minimax:4", "mcts:50"} and set(order[2:]) == {"first", "random"}
    assert all(one["ci95"][0] < one["elo"] < one["ci95"][1] for one in result["elo"])
    assert sum(one["games"] for one in result["elo"]) == 2 * 50
    for _, records in kept:
        assert len(records) == 10
        for record in records:
            assert tuple(list(replay(record))[-1].returns()) == record.returns
        for first, second in zip(records[::2], records[1::2], strict=True):  # both sides of one opening
            opening = first.info["opening"]
            assert first.players == second.players[::-1] and first.actions[:opening] == second.actions[:opening]
    assert run()[0] == result
