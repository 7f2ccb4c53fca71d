"""Matches from every seat of the same openings, and what they say of how strong the players are."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from muzen.envs import OpenSpielEnvironment, episode_seed
from muzen.errors import ConfigError
from muzen.evaluate import by_seat
from muzen.matches import Game, Played, play
from muzen.players import Player
from muzen.ratings import elo, wilson
from muzen.runs import GameRecord

# Random plies that games begin with, at least and at most; games of chance vary by themselves.
OPENING_PLIES = (2, 4)
# Worker number in the seeds of the openings; see `evaluate.EVALUATION_WORKER`.
_WORKER = 2**31 - 2
# Draws of an opening before one that was there before is taken.
_ATTEMPTS = 50
_OPENING = 2


class Opening(NamedTuple):
    """How a game begins, for whoever plays it."""

    seed: int  # of all chance
    actions: tuple[int, ...]
    repeated: bool = False  # the game has too few openings, and this one was there before


class Pairing(NamedTuple):
    """Who meets whom: `player` takes every seat in turn, `opponent` the others."""

    player: Player
    opponent: Player


def openings(env: OpenSpielEnvironment, count: int, seed: int, plies: tuple[int, int] | None = None) -> list[Opening]:
    """A fixed set of openings of random legal moves: the same for the same seed, a larger set begins with a smaller.

    None ends the game, and no position is there twice unless the game has too few.

    Args:
      env: the game.
      count: openings.
      seed: they follow from it.
      plies: moves by players, at least and at most; None: `OPENING_PLIES`, or none in a game of chance.

    Raises:
      ConfigError: so many moves end the game.
    """
    low, high = plies or ((0, 0) if env.spec.chance else OPENING_PLIES)
    found: list[Opening] = []
    seen: set[Any] = set()
    for number in range(count):
        own = episode_seed(seed, _WORKER, 0, number)
        if high == 0:
            found.append(Opening(own, (), repeated=number > 0 and not env.spec.chance))
            continue
        random = np.random.default_rng([own, _OPENING])
        chosen, repeated = None, not env.spec.chance
        for _ in range(_ATTEMPTS):
            actions, now = [], env.reset(own)
            for _ in range(random.integers(low, high + 1)):
                if now.terminated:
                    break
                actions.append(int(random.choice(np.flatnonzero(now.legal))))
                now = env.step(actions[-1])
            if now.terminated:
                continue
            chosen, key = tuple(actions), (str(env.state), now.to_play)
            if key not in seen:
                seen.add(key)
                repeated = False
                break
        if chosen is None:
            raise ConfigError(f"opening_plies: {low} to {high} moves end {env.name}; give fewer, such as 0-0 for none")
        found.append(Opening(own, chosen, repeated))
    return found


def pairings(agents: Sequence[Player], opponents: Sequence[Player]) -> list[Pairing]:
    """Every agent against every opponent, and against every other agent."""
    among = [Pairing(a, b) for i, a in enumerate(agents) for b in agents[i + 1 :]]
    return [Pairing(a, b) for a in agents for b in opponents] + among


def games_of(pairing: Pairing, chosen: Sequence[Opening], players: int) -> list[Game]:
    """Every opening once with the player in each of the seats: [openings * P] games."""
    return [
        Game(
            opening.seed,
            tuple(pairing.player if s == seat else pairing.opponent for s in range(players)),
            opening.actions,
        )
        for opening in chosen
        for seat in range(players)
    ]


def tournament(
    pairs: Sequence[Pairing],
    make: Callable[[], OpenSpielEnvironment],
    *,
    games: int = 100,
    seed: int = 0,
    plies: tuple[int, int] | None = None,
    max_steps: int = 27_000,
    progress: Callable[[str, int, int], None] | None = None,
    on_match: Callable[[dict[str, Any], list[GameRecord]], None] | None = None,
) -> dict[str, Any]:
    """Play all matches from the same openings, one match after another, the games of a match in one batch.

    Args:
      pairs: who meets whom.
      make: makes one environment of the game.
      games: of each match, at least 1; more where every opening is to be played from every seat.
      seed: of openings and chance.
      plies: see `openings`.
      max_steps: environment steps after which a game is broken off.
      progress: called with the match's name, and games done and to do of all matches.
      on_match: called after each match with the result so far and the records of its games.

    Returns:
      game, seed, games (of each match), openings (how many) and distinct_openings, matches_planned, matches: a list of
      what `match` gives, and elo: players with their rating and 95 % interval, the strongest first.
    """
    env = make()
    players = env.spec.players
    chosen = openings(env, math.ceil(games / players), seed, plies)
    game = str(env.game)
    env.close()
    each = len(chosen) * players
    result: dict[str, Any] = {
        "game": game,
        "seed": seed,
        "games": each,
        "openings": len(chosen),
        "distinct_openings": sum(not opening.repeated for opening in chosen),
        "matches_planned": len(pairs),
        "matches": [],
    }
    for number, pair in enumerate(pairs):
        name, before = f"{pair.player.name} against {pair.opponent.name}", number * each

        def tell(done: int, _: int, name: str = name, before: int = before) -> None:
            if progress is not None:
                progress(name, before + done, each * len(pairs))

        played = play(make, games_of(pair, chosen, players), max_steps=max_steps, keep=True, progress=tell)
        result["matches"].append(match(pair, played))
        result["elo"] = standings(result["matches"])
        if on_match is not None:
            on_match(result, [one.record for one in played if one.record is not None])
    return result


def match(pair: Pairing, played: Sequence[Played]) -> dict[str, Any]:
    """What became of the games that `games_of` gave, in the player's view.

    Returns:
      player, opponent, games, win, draw, loss, their 95 % intervals as shares (win_ci95, ...), score (a draw is 1/2)
      and score_ci95, mean_return, mean_length, cut (games broken off), and by `seats` as `evaluate`. With more than
      two players, won is a return above every opponent's, and the score counts each opponent by itself.
    """
    totals = np.stack([game.returns for game in played])
    count, players = totals.shape
    seats = np.arange(count) % players
    own = totals[np.arange(count), seats]
    others = np.stack([np.delete(row, seat) for row, seat in zip(totals, seats, strict=True)])
    score = float(((own[:, None] > others) + (own[:, None] == others) / 2).mean(1).sum())
    parts = by_seat(totals, seats)
    ended = {name: sum(part[name] for part in parts) for name in ("win", "draw", "loss")}
    return {
        "player": pair.player.name,
        "opponent": pair.opponent.name,
        "games": count,
        **ended,
        **{f"{name}_ci95": wilson(number, count) for name, number in ended.items()},
        "score": score / count,
        "score_ci95": wilson(score, count),
        "mean_return": float(own.mean()),
        "mean_length": float(np.mean([game.length for game in played])),
        "cut": sum(game.cut for game in played),
        "seats": parts,
    }


def standings(matches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Players with name, elo, ci95 (low, high), open_end and games, the strongest first; see `ratings.elo`.

    Of a player who won everything, or nothing, no game says how strong at most, or at least: `open_end` is then "above"
    or "below" (else None), and that end of ci95 stands for no more than the prior draw.
    """
    names = list(dict.fromkeys(name for found in matches for name in (found["player"], found["opponent"])))
    points, games = np.zeros((len(names), len(names))), np.zeros(len(names), int)
    for found in matches:
        i, j = names.index(found["player"]), names.index(found["opponent"])
        points[i, j] += found["score"] * found["games"]
        points[j, i] += (1 - found["score"]) * found["games"]
        games[[i, j]] += found["games"]
    rated = elo(points)
    order = np.argsort(-rated.elo, kind="stable")
    taken, given = points.sum(1), points.sum(0)
    return [
        {
            "name": names[i],
            "elo": float(rated.elo[i]),
            "ci95": (float(rated.elo[i] - rated.ci95[i]), float(rated.elo[i] + rated.ci95[i])),
            "open_end": "below" if taken[i] == 0 else "above" if given[i] == 0 else None,
            "games": int(games[i]),
        }
        for i in order
    ]
