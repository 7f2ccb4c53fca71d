"""Ratings: worked numbers, players of known strength, and intervals that hold what they say."""

import math

import numpy as np
import pytest
from scipy import stats

from muzen.ratings import elo, wilson

pytest.importorskip("choix")


def difference(points, **options):
    found = elo(np.array(points, float), **options).elo
    return found[0] - found[1]


@pytest.mark.parametrize(
    ("won", "lost", "expected"),
    [(10, 1, 400.0), (1, 1, 0.0), (3, 1, 190.848), (64, 36, 99.954), (0.5, 5, -400.0)],
)
def test_two_players_differ_by_400_log10_of_their_score(won, lost, expected):
    assert difference([[0, won], [lost, 0]], prior_draws=0) == pytest.approx(expected, abs=1e-2)


def test_a_draw_is_half_a_win_for_each():
    wins_and_losses, draws = [[0, 30], [10, 0]], [[0, 20 + 20 / 2], [20 / 2, 0]]
    assert difference(wins_and_losses) == pytest.approx(difference(draws))


def test_the_interval_of_two_equal_players_is_that_of_their_score():
    found = elo(np.array([[0, 50], [50, 0]]), prior_draws=0)
    # The difference's deviation is 1 / sqrt(n p (1 - p)) = 0.2 of the logistic scale; each has half of the difference.
    assert found.ci95 == pytest.approx(np.full(2, 1.959964 * 0.2 / 2 * 400 / math.log(10)), rel=1e-4)
    c = found.covariance
    assert math.sqrt(c[0, 0] + c[1, 1] - 2 * c[0, 1]) == pytest.approx(0.2 * 400 / math.log(10), rel=1e-4)


def test_who_won_every_game_is_finite_and_uncertain():
    found = elo(np.array([[0, 100], [0, 0]]))
    assert found.elo[0] - found.elo[1] == pytest.approx(400 * math.log10(100.5 / 0.5), rel=1e-3)
    assert found.ci95[0] > 200


def test_intervals_shrink_with_the_square_root_of_the_games():
    few, many = (elo(np.array([[0, 6], [4, 0]]) * scale, prior_draws=0).ci95[0] for scale in (10, 1000))
    assert few / many == pytest.approx(10, rel=1e-3)


TRUE = np.array([300.0, 100.0, 0.0, -150.0, -250.0])


def tournament(rng, games):
    """Points of a round robin between players of known strength, a fifth of it drawn as far as the score allows."""
    expected = 1 / (1 + 10 ** ((TRUE[None, :] - TRUE[:, None]) / 400))
    points = np.zeros((5, 5))
    for i in range(5):
        for j in range(i):
            draw = min(0.2, 2 * min(expected[i, j], 1 - expected[i, j]))
            won, drawn, lost = rng.multinomial(games, [expected[i, j] - draw / 2, draw, 1 - expected[i, j] - draw / 2])
            points[i, j], points[j, i] = won + drawn / 2, lost + drawn / 2
    return points


def test_known_strengths_come_back_and_intervals_hold_them_as_often_as_they_say():
    rng = np.random.default_rng(0)
    found = [elo(tournament(rng, 100)) for _ in range(100)]
    mean = np.mean([ratings.elo for ratings in found], axis=0)
    np.testing.assert_allclose(mean, TRUE - TRUE.mean(), atol=15)
    held = np.mean([np.abs(ratings.elo - (TRUE - TRUE.mean())) <= ratings.ci95 for ratings in found])
    assert 0.93 <= held <= 0.995


def test_players_that_met_only_by_way_of_a_third_are_rated():
    points = np.array([[0, 30, 0], [10, 0, 30], [0, 10, 0]], float)
    found = elo(points, prior_draws=0).elo
    assert found[0] - found[2] == pytest.approx(2 * 400 * math.log10(3), abs=0.1)


def test_players_that_nobody_met_cannot_be_rated():
    with pytest.raises(ValueError, match="never met"):
        elo(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))


@pytest.mark.parametrize(("won", "games"), [(0, 10), (10, 10), (7, 10), (1, 1), (480, 1000)])
def test_the_interval_of_a_share_is_wilsons(won, games):
    found = stats.binomtest(won, games).proportion_ci(method="wilson")
    assert wilson(won, games) == pytest.approx((found.low, found.high), abs=1e-6)


def test_the_interval_of_a_half_point_lies_between_its_neighbours():
    below, half, above = (wilson(score, 20) for score in (7, 7.5, 8))
    assert below[0] < half[0] < above[0] and below[1] < half[1] < above[1]
