"""The picture of an arena: what every match ended with, and how strong all who took part are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from muzen.plots import COLOURS, STYLE, save_figure
from muzen.summary import arena_title

_WIN, _DRAW, _LOSS = COLOURS[0], "#dadce0", COLOURS[1]
# Inches of a match or a player, and of what stands above and below them.
_ROW, _REST = 0.55, 1.9


def draw(result: dict[str, Any], out: str | Path) -> Path:
    """Draws what `tournament` gives.

    Raises:
      StorageError: `out` cannot be written.
    """
    out = Path(out)
    rows = max(len(result["matches"]), len(result["elo"]))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, _REST + _ROW * max(rows, 3)), layout="constrained")
        FigureCanvasAgg(figure)
        ended, rated = figure.subplots(1, 2, width_ratios=(3, 2))
        games = f"{result['games']} games a match, from every seat of {result['openings']} openings"
        title = f"{arena_title(result)}: {games}"
        figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
        _draw_matches(ended, result["matches"])
        _draw_elo(rated, result["elo"])
        save_figure(figure, out)
    return out


def _draw_matches(axes: Axes, matches: Sequence[dict[str, Any]]) -> None:
    """Shares won, drawn and lost as one bar, and the score with its interval on it."""
    places = np.arange(len(matches))
    left = np.zeros(len(matches))
    for name, colour, label in (("win", _WIN, "won"), ("draw", _DRAW, "drawn"), ("loss", _LOSS, "lost")):
        share = np.array([found[name] / found["games"] for found in matches])
        axes.barh(places, share, 0.62, left, color=colour, label=label, alpha=0.85)
        for place, found, start, width in zip(range(len(matches)), matches, left, share, strict=True):
            if width > 0.04:
                ink = "#202124" if name == "draw" else "white"
                axes.text(start + 0.008, place - 0.17, found[name], va="center", color=ink, fontsize=8)
        left += share
    scores = np.array([found["score"] for found in matches])
    ends = np.array([found["score_ci95"] for found in matches]).reshape(-1, 2)
    bars = np.maximum(0, [scores - ends[:, 0], ends[:, 1] - scores])
    axes.errorbar(scores, places, None, bars, fmt="D", color="#202124", markersize=5, capsize=3, label="score, 95 %")
    for place, score in enumerate(scores):
        axes.text(1.02, place, f"{100 * score:.1f} %", va="center", fontsize=10, fontweight="bold")
    axes.set_yticks(places, [f"{found['player']}\nagainst {found['opponent']}" for found in matches])
    axes.set_title("Games won, drawn and lost, and the score (a draw is ½)", pad=24)
    axes.set_xlabel("share of the games")
    axes.set_xlim(0, 1.14)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
    _rows(axes, len(matches))


def _draw_elo(axes: Axes, rated: Sequence[dict[str, Any]]) -> None:
    """Ratings with their intervals, the strongest on top; an end that no game says anything of is an arrow."""
    places, ratings = np.arange(len(rated)), np.array([one["elo"] for one in rated])
    ends = np.array([one["ci95"] for one in rated]).reshape(-1, 2)
    axes.errorbar(
        ratings,
        places,
        None,
        [ratings - ends[:, 0], ends[:, 1] - ratings],
        fmt="o",
        color=_WIN,
        markersize=6,
        capsize=4,
    )
    for place, (one, end) in enumerate(zip(rated, ends, strict=True)):
        if one["open_end"] is not None:
            x, marker = (end[1], ">") if one["open_end"] == "above" else (end[0], "<")
            axes.plot(x, place, marker, color=_WIN, markersize=7)
    for place, rating in enumerate(ratings):
        axes.annotate(f"{rating:+.0f}", (rating, place), (0, 7), textcoords="offset points", ha="center", fontsize=9)
    axes.set_yticks(places, [one["name"] for one in rated])
    axes.set_title("Elo, 95 % intervals", pad=24)
    axes.set_xlabel("Elo points from the mean of these players")
    axes.margins(x=0.1)
    _rows(axes, len(rated))


def _rows(axes: Axes, count: int) -> None:
    axes.set_ylim(count - 0.4, -0.6)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)
