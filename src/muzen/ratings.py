"""How strong players are, from who won against whom: Elo ratings and their intervals."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from muzen.errors import EnvError

# Elo points that one unit of the logistic model's strength is: a score of 10 to 1 is 400 points.
POINTS = 400 / math.log(10)
# Standard deviations on each side that hold 95 %.
_Z95 = 1.959964


class Ratings(NamedTuple):
    """Elo ratings of N players; only differences mean anything, and their mean is 0."""

    elo: np.ndarray  # [N]
    ci95: np.ndarray  # [N] half the width of each one's 95 % interval
    covariance: np.ndarray  # [N, N] in squared Elo points, for intervals of differences


def elo(points: np.ndarray, *, prior_draws: float = 1.0) -> Ratings:
    """Maximum likelihood ratings of the Bradley-Terry model, in which i scores 1 / (1 + 10^((R_j - R_i) / 400)).

    A draw is half a win for each. The estimate is choix's (I-LSR); the covariance is the inverse of the Fisher
    information, Σ n p (1 - p), on ratings of mean 0. That takes each game for won or lost: where many are drawn,
    the intervals are wider than they need be.

    Args:
      points: [N, N] points that i took from j: 1 for a win, 0.5 for a draw.
      prior_draws: draws added between any two who met, so that who won every game is not infinitely strong.

    Raises:
      ValueError: some players are connected to the others by no games.
      EnvError: choix is not installed.

    Source: Bradley and Terry, Biometrika 39 (1952); Maystre and Grossglauser, "Fast and Accurate Inference of
    Plackett-Luce Models" (2015); the prior as in Coulom's Bayeselo.
    """
    try:
        import choix
    except ModuleNotFoundError as error:
        raise EnvError('ratings: choix is not installed; run: pip install "muzen[games]"') from error
    points = np.asarray(points, float)
    met = points + points.T > 0
    if not _connected(met):
        raise ValueError("points: some players never met the others, directly or by way of a third")
    points = points + prior_draws / 2 * met
    strength: Any = choix.ilsr_pairwise_dense(points, max_iter=100_000)
    expected = 1 / (1 + np.exp(strength[None, :] - strength[:, None]))
    information = -(points + points.T) * expected * (1 - expected)
    np.fill_diagonal(information, 0)
    np.fill_diagonal(information, -information.sum(1))
    # Ratings are known up to a constant; the pseudo-inverse is the covariance of those with mean 0.
    covariance = np.linalg.pinv(information, hermitian=True) * POINTS**2
    half = _Z95 * np.sqrt(np.diag(covariance))
    return Ratings(POINTS * (strength - strength.mean()), half, covariance)


def _connected(met: np.ndarray) -> bool:
    reached = np.zeros(len(met), bool)
    reached[:1] = True
    for _ in range(len(met)):
        reached |= met[reached].any(0)
    return bool(reached.all())


def wilson(score: float, games: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share: where it may truly lie, if `score` of `games` were won.

    Args:
      score: games won, drawn ones as half: 0 to `games`. With draws the interval is wider than it need be.
      games: at least 1.

    Source: Wilson, Journal of the American Statistical Association 22 (1927).
    """
    share, z2 = score / games, _Z95**2
    middle = (share + z2 / (2 * games)) / (1 + z2 / games)
    half = _Z95 / (1 + z2 / games) * math.sqrt(share * (1 - share) / games + z2 / (4 * games**2))
    return max(0.0, middle - half), min(1.0, middle + half)
