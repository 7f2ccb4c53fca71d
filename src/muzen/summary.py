"""What a run ends with, in words a person understands."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from muzen.machine import quoted
from muzen.profile import lines as profile_lines
from muzen.progress import duration
from muzen.runs import EVALUATION_GAMES, games_folder

# Of 400 normal samples each, the 95 % bootstrap interval of the mean held the true one for 50 % with 2 numbers, 84 %
# with 5, 89 % with 10.
_FEW_SEEDS = 10


def returns(evaluation: dict[str, Any]) -> str:
    """'return 497.3 (95 % interval 494.0 to 500.0) over 100 greedy episodes'."""
    low, high = evaluation["ci95"]
    if "seats" in evaluation:
        seats = ", ".join(
            f"{seat['win']} won, {seat['draw']} drawn, {seat['loss']} lost as player {seat['seat'] + 1}"
            for seat in evaluation["seats"]
        )
        return (
            f"against {evaluation['opponent']} opponents over {evaluation['episodes']} games: {seats}; "
            f"mean return {evaluation['mean_return']:.2f} (95 % interval {low:.2f} to {high:.2f})"
        )
    plural = "" if evaluation["episodes"] == 1 else "s"
    mean, low, high = figures(evaluation["mean_return"], low, high)
    cut = f", {evaluation['cut']} of them cut off by evaluate.max_steps" if evaluation.get("cut") else ""
    interval = f"95 % interval {low} to {high}"
    return f"return {mean} ({interval}) over {evaluation['episodes']} greedy episode{plural}{cut}"


def figures(mean: float, low: float, high: float) -> tuple[str, ...]:
    """A mean and the ends of its interval with as many decimals, 1 to 6, as show how wide the interval is."""
    width = high - low or abs(mean) or 1.0
    digits = min(6, max(1, 1 - math.floor(math.log10(width))))
    return tuple(f"{x:.{digits}f}" for x in (mean, low, high))


def run_summary(run: Any, seconds: float, named: Sequence[str] = ()) -> str:
    """The last lines of `muzen train` and `muzen resume`.

    Args:
      run: a `muzen.Run`.
      seconds: wall-clock of the whole command, evaluation included.
      named: flags that name code of the user's own, which every later command needs too.
    """
    folder, config = quoted(run.folder), run.config
    own = "".join(f" {quoted(word)}" for word in named)
    name = f"{config.env_id}, seed {config.seed}"
    if not run.evaluation:
        return f"{name}: stopped ({run.stopped}) after {duration(seconds)}\ngo on with: muzen resume {folder}{own}"
    steps = run.evaluation["env_steps_trained"]
    by_the_clock = config.minutes > 0 and steps < config.env_steps
    more = f"--minutes {2 * config.minutes:g}" if by_the_clock else f"--env-steps {2 * steps}"
    commands = {
        f"muzen evaluate {folder}{own}": "play other episodes, others again with --seed",
        f"muzen plot {folder}": "its learning curve",
        f"muzen record {folder}{own}": "watch an episode, with what the search thinks",
        f"muzen diagnose {folder}{own}": "why it did or did not learn",
        f"muzen resume {folder}{own} {more}": "train longer",
    }
    if "seats" in run.evaluation:
        if (games := games_folder(run.folder) / EVALUATION_GAMES).exists():
            commands[f"muzen show {quoted(games)}"] = "the games that it just played"
        if not named:  # an arena names nobody's code
            commands[f"muzen arena {folder} --opponents random,mcts:100"] = "matches against opponents, rated"
    sittings = f" in this sitting, {duration(run.seconds)} of training in all" if run.seconds > seconds else ""
    width = max(map(len, commands))
    return "\n".join(
        [
            "",
            f"{name}: {returns(run.evaluation)}",
            f"{steps:,} environment steps, {duration(seconds)} of wall-clock{sittings}",
            f"run folder: {folder}",
            "",
            *([*profile_lines(run.profile, steps), ""] if run.profile else []),
            "next:",
            *(f"  {command:<{width}}  {why}" for command, why in commands.items()),
        ]
    )


def arena_tables(result: dict[str, Any]) -> list[Table]:
    """What every match of an arena ended with, and how strong all who took part are; 95 % intervals below shares."""

    def share(found: dict[str, Any], name: str) -> str:
        low, high = (100 * end for end in found[f"{name}_ci95"])
        value = found["score"] if name == "score" else found[name] / found["games"]
        return f"{100 * value:.1f} %\n{low:.1f} to {high:.1f}"

    title = f"{arena_title(result)}: {result['games']} games a match"
    caption = "a draw is half a win in the score"
    if (different := result["distinct_openings"]) < result["openings"]:
        caption += (
            f"\nonly {different:,} of {result['openings']:,} openings differ, for the game has no more of these: where "
            "players repeat themselves, intervals are too narrow"
        )
    matches = Table(box=box.SIMPLE, title=Text(title), caption=caption)
    matches.add_column("match", overflow="fold")
    for heading in ("won", "drawn", "lost", "score"):
        matches.add_column(heading, justify="right", no_wrap=True)
    for found in result["matches"]:
        shares = (share(found, name) for name in ("win", "draw", "loss", "score"))
        matches.add_row(Text(f"{found['player']}\nagainst {found['opponent']}"), *shares)
    ratings = Table(box=box.SIMPLE, title="Elo, from the mean of these players")
    ratings.add_column("player", overflow="fold")
    for heading in ("Elo", "95 % interval", "games"):
        ratings.add_column(heading, justify="right", no_wrap=True)
    for one in result["elo"]:
        low, high = (f"{end:+.0f}" for end in one["ci95"])
        interval = {"above": f"{low} and up", "below": f"{high} and down"}.get(one["open_end"], f"{low} to {high}")
        ratings.add_row(Text(one["name"]), f"{one['elo']:+.0f}", interval, f"{one['games']:,}")
    return [matches, ratings]


def arena_title(result: dict[str, Any]) -> str:
    """The game, and how much of the arena there is where it was broken off."""
    done, planned = len(result["matches"]), result["matches_planned"]
    game = result["game"].removesuffix("()")
    return game if done == planned else f"{game}, {done} of {planned} matches"


def seeds_table(runs: list[tuple[Any, float]]) -> Table:
    """Every seed, and over seeds the mean with its bootstrap interval and the interquartile mean.

    Args:
      runs: `muzen.Run` and its wall-clock in seconds, one pair a seed.
    """
    import numpy as np

    from muzen.evaluate import confidence_interval

    against = " against random opponents" if "opponent" in runs[0][0].evaluation else ""
    table = Table(box=box.SIMPLE, title=f"{runs[0][0].config.env_id}: greedy return{against}")
    for heading in ("seed", "return", "95 % interval", "steps", "wall-clock"):
        table.add_column(heading, justify="right", no_wrap=True)
    for run, seconds in runs:
        mean, low, high = figures(run.evaluation["mean_return"], *run.evaluation["ci95"])
        table.add_row(
            str(run.config.seed),
            mean,
            f"{low} to {high}",
            f"{run.evaluation['env_steps_trained']:,}",
            duration(seconds),
        )
    means = np.sort([run.evaluation["mean_return"] for run, _ in runs])
    if len(means) > 1:
        ends = confidence_interval(means)
        quarter = len(means) // 4
        mean, low, high = figures(means.mean(), *ends)
        middle, *_ = figures(means[quarter : len(means) - quarter].mean(), *ends)
        table.add_section()
        table.add_row("mean", mean, f"{low} to {high}", "", "")
        table.add_row("interquartile mean", middle, "", "", "")
        if len(means) < _FEW_SEEDS:
            table.caption = (
                f"an interval bootstrapped from {len(means)} seeds is too narrow: trust the range of the seeds"
            )
    return table
