"""Games between players: each played once, by whoever sits there, whatever else goes on beside it."""

import numpy as np
import pytest

from muzen.envs import make
from muzen.matches import Game, play
from muzen.players import LANES, Move, Random
from muzen.scoresheet import replay

pyspiel = pytest.importorskip("pyspiel")
TIC_TAC_TOE = "openspiel:tic_tac_toe"


class Watching:
    """Takes the first legal action, and remembers how many positions it was asked for at once."""

    def __init__(self, name="first", batch=1):
        self.name, self.batch, self.asked = name, batch, []

    def choose(self, positions):
        self.asked.append(len(positions))
        return [Move(int(np.flatnonzero(p.now.legal)[0]), {"value": p.state.move_number()}) for p in positions]


def games(count, *seats, opening=()):
    return [Game(7 + i, seats, opening) for i in range(count)]


def played(listed, game=TIC_TAC_TOE, **options):
    return play(lambda: make(game), listed, **({"max_steps": 1000} | options))


@pytest.mark.parametrize("count", [1, 5, LANES + 3])
def test_every_game_is_played_once_and_told_of(count):
    told = []
    found = played(games(count, Random(), Random()), progress=lambda done, all: told.append((done, all)))
    assert len(found) == count and told == [(i + 1, count) for i in range(count)]
    assert all(game.returns.sum() == 0 and 5 <= game.length <= 9 and not game.cut for game in found)


def test_a_game_depends_on_nothing_in_the_others():
    listed = games(LANES + 5, Random(), Watching())
    together = played(listed, keep=True)
    for i in (0, 3, LANES + 4):
        (alone,) = played([listed[i]], keep=True, lanes=1)
        assert alone.record == together[i].record
    assert len({game.record.actions for game in together}) > LANES / 2  # type: ignore[union-attr]


def test_a_player_that_likes_batches_is_asked_for_all_games_at_once():
    batched = Watching(batch=LANES)
    played([Game(i, (batched, Random()) if i % 2 else (Random(), batched)) for i in range(LANES)])
    assert batched.asked[0] == LANES and len(batched.asked) <= 5


def test_two_batched_players_are_asked_in_turn_for_full_batches():
    one, two = Watching(batch=LANES), Watching(batch=LANES)
    played([Game(i, (one, two) if i % 2 else (two, one)) for i in range(LANES)])
    assert two.asked[0] == LANES // 2 and one.asked[0] == LANES and two.asked[1] == LANES


def test_openings_are_taken_before_anyone_is_asked():
    (found,) = played(games(1, Watching(), Watching(), opening=(4, 0)), keep=True)
    assert found.record.actions[:3] == (4, 0, 1)  # type: ignore[union-attr]
    assert found.record.info == {"seed": 7, "opening": 2}  # type: ignore[union-attr]


def test_records_replay_to_the_same_returns_with_names_chance_and_comments():
    players = Watching("a"), Watching("b"), Random()
    for found in played(games(4, *players), "openspiel:pig(players=3,winscore=15)", keep=True, max_steps=200):
        assert found.record is not None and found.record.players == ("a", "b", "random") and -1 in found.record.movers
        states = list(replay(found.record))
        if not found.cut:
            assert tuple(states[-1].returns()) == found.record.returns == tuple(found.returns)
        for state, mover, comment in zip(states, found.record.movers, found.record.comments, strict=False):
            assert comment == ({"value": state.move_number()} if mover in (0, 1) else {})


def test_a_game_that_takes_too_long_is_cut_and_its_record_says_so():
    (found,) = played(games(1, Random(), Random()), max_steps=3, keep=True)
    assert found.cut and found.length == 3 and found.record.returns is None  # type: ignore[union-attr]
