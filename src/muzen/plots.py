"""Pictures from run folders: learning curves, final returns, what the losses did."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from muzen.config import Config, flat
from muzen.errors import ConfigError, RunDamagedError, RunNotFoundError, StorageError
from muzen.runs import RunFolder, read_json, read_metrics

# Okabe and Ito's colours, told apart by colour-blind eyes too; yellow left out, it is lost on white.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444")
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": "#9aa0a6",
    "axes.grid": True,
    "axes.labelcolor": "#3c4043",
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "font.family": ["DejaVu Sans"],
    "grid.color": "#e8eaed",
    "grid.linewidth": 0.8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "text.color": "#202124",
    "xtick.color": "#5f6368",
    "xtick.labelsize": 9,
    "ytick.color": "#5f6368",
    "ytick.labelsize": 9,
}
# Points of a mean curve over several runs.
GRID = 200
LOSSES = ("policy_loss", "value_loss", "reward_loss", "discount_loss", "consistency_loss")
# Begins the columns of returns against opponents, by name.
AGAINST = "return_against_"
Rows = Sequence[dict[str, float]]


@dataclass(frozen=True)
class Curve:
    """One run, as the plots see it.

    Attributes:
      config: its settings.
      rows: its metrics table, in time order; any row may lack any column but env_steps and seconds.
      evaluation: what the evaluation at its end says, or an empty dictionary.
      began: what it began with that no setting tells.
    """

    config: Config
    rows: Rows
    evaluation: dict[str, Any]
    began: dict[str, str] = field(default_factory=dict)

    def series(self, x: str, y: str) -> tuple[np.ndarray, np.ndarray]:
        """Two columns, [N] and [N], over the rows where both are finite."""
        pairs = np.array([(row.get(x, np.nan), row.get(y, np.nan)) for row in self.rows], float).reshape(-1, 2)
        pairs = pairs[np.isfinite(pairs).all(1)]
        return pairs[:, 0], pairs[:, 1]


def plot_runs(folders: str | os.PathLike | Iterable[str | os.PathLike], out: str | os.PathLike) -> Path:
    """Draws learning curves; runs that differ in nothing but their seed are drawn as their mean and band.

    Args:
      folders: run folders, or folders that hold run folders; or one of them.
      out: the picture to write, PNG, PDF or SVG by what its name ends in.

    Returns:
      `out`.

    Raises:
      ConfigError: `out` is of a kind that cannot be drawn.
      RunNotFoundError: a folder is no run and holds none.
      RunError: a run folder is damaged, or was written by a newer Muzen.
      StorageError: `out` cannot be written.
    """
    kind = Path(out).suffix.lower()
    # What TeX would have to draw is left out.
    if kind[1:] not in {"", *FigureCanvasAgg(Figure()).get_supported_filetypes()} - {"pgf"}:
        raise ConfigError(f"out: {out} ends in {kind}, which cannot be drawn; name a .png, .pdf or .svg")
    return draw([read_run(folder) for folder in run_folders(folders)], Path(out))


def run_folders(folders: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Path]:
    """The run folders among, or directly in, these folders, or this one; each once.

    Raises:
      RunNotFoundError: one of them is no run and holds none.
    """
    found: list[Path] = []
    for folder in map(Path, [folders] if isinstance(folders, str | os.PathLike) else folders):
        inside = (
            [folder] if (folder / "config.json").is_file() else sorted(p.parent for p in folder.glob("*/config.json"))
        )
        if not inside:
            state = "holds no run" if folder.is_dir() else "is no folder" if folder.exists() else "does not exist"
            raise RunNotFoundError(f"{folder}: {state}; name run folders, such as runs/CartPole-v1-seed0")
        found += inside
    once: dict[Path, Path] = {}
    for path in found:
        once.setdefault(path.resolve(), path)
    return list(once.values())


def read_run(folder: Path) -> Curve:
    """One run folder as a curve.

    Raises:
      RunError: the folder is no run, is damaged, or was written by a newer Muzen.
    """
    opened, rows, path = RunFolder.open(folder), read_metrics(folder), folder / "evaluation.json"
    evaluation = _read_evaluation(path) if path.exists() else {}
    # One of a run that has been trained on since is not of the weights that it has now.
    old = evaluation and rows and rows[-1]["env_steps"] > evaluation.get("env_steps_trained", math.inf)
    return Curve(opened.config, rows, {} if old else evaluation, opened.began or {})


def _read_evaluation(path: Path) -> dict[str, Any]:
    """An evaluation, with the numbers that are drawn."""
    data = read_json(path)
    mean, interval, returns = (data.get(name) for name in ("mean_return", "ci95", "returns"))
    if isinstance(interval, list) and len(interval) == 2 and isinstance(returns, list):
        numbers = [mean, *interval, *returns]
        if all(isinstance(x, int | float) and not isinstance(x, bool) and abs(x) < math.inf for x in numbers):
            return data
    raise RunDamagedError(f"{path}: mean_return, ci95 and returns are not numbers; restore the file or delete it")


def draw(curves: Sequence[Curve], out: str | Path) -> Path:
    """Draws one block of panels for each environment, a colour for each group of runs alike but for their seed.

    Raises:
      StorageError: `out` cannot be written.
    """
    out = Path(out)
    environments = sorted({curve.config.env_id for curve in curves})
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(14, 7.2 * len(environments)), layout="constrained")
        FigureCanvasAgg(figure)
        blocks = figure.subfigures(len(environments), 1, hspace=0.04, squeeze=False)
        for block, env_id in zip(blocks[:, 0], environments, strict=True):
            _draw_environment(block, env_id, groups([c for c in curves if c.config.env_id == env_id]))
        save_figure(figure, out)
    return out


# Settings that tell runs of one kind apart: who, how long at most, on what.
_NOT_LEARNED_BY = ("seed", "env_id", "minutes", "checkpoint_minutes", "devices")


def groups(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Runs of one environment by what their settings differ in, of what they learn by."""
    every = [flat(curve.config) | curve.began for curve in curves]
    known = dict.fromkeys(key for settings in every for key in settings)
    told = [key for key in known if key not in _NOT_LEARNED_BY and not key.startswith("evaluate.")]
    differing = [key for key in told if len({str(settings.get(key)) for settings in every}) > 1]
    named: dict[str, list[Curve]] = {}
    for curve, settings in zip(curves, every, strict=True):
        name = ", ".join(f"{key} {settings.get(key, 'none')}" for key in differing) or "return"
        named.setdefault(name, []).append(curve)
    return named


def _draw_environment(block: Any, env_id: str, named: dict[str, list[Curve]]) -> None:
    block.suptitle(env_id, x=0.01, ha="left", fontsize=15, fontweight="bold")
    (steps, clock, final), (loss, shares, norm) = block.subplots(2, 3)
    curves = [curve for group in named.values() for curve in group]
    longest = max((curve.rows[-1].get("seconds", 0) for curve in curves if curve.rows), default=0)
    unit, seconds = ("hours", 3600) if longest > 7200 else ("minutes", 60) if longest > 180 else ("seconds", 1)
    for axes, x, scale in ((steps, "env_steps", 1), (clock, "seconds", seconds)):
        _draw_returns(axes, x, scale, named)
    seeds = any(len(group) > 1 for group in named.values())
    steps.set_title("Return, mean and range of seeds" if seeds else "Return while learning")
    clock.set_title("The same by wall-clock")
    clock.set_xlabel(f"{unit} since the start")
    _draw_final(final, named)
    _draw_terms(loss, named, LOSSES, "loss")
    _draw_terms(shares, named, ("policy_entropy", "target_entropy", "value_explained"), "value_explained")
    _draw_terms(norm, named, ("gradient_norm",), "gradient_norm")
    several = len(named) > 1
    loss.set_title("Loss, weighted sum" if several else "Losses")
    loss.set_ylabel("loss" if several else "loss, unweighted")
    shares.set_title("Variance of targets that the value explains" if several else "Policy and value")
    shares.set_ylabel("share" if several else "share (of uniform, of variance)")
    shares.set_ylim(-0.05, 1.05)
    norm.set_title("Gradient norm, before clipping")
    norm.set_ylabel("norm")
    for axes in (loss, norm):
        _log_scale_if_wide(axes)
    for axes in (steps, loss, shares, norm):
        axes.set_xlabel("environment steps")
        axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
    for axes in (steps, clock, loss, shares, norm):
        _finish(axes)


def _draw_returns(axes: Axes, x: str, scale: float, named: dict[str, list[Curve]]) -> None:
    """The running return of each group; of one group of a game, the return against each of several opponents."""
    curves = [curve for group in named.values() for curve in group]
    opponents = list(
        dict.fromkeys(key for curve in curves for row in curve.rows for key in row if key.startswith(AGAINST))
    )
    if len(named) == 1 and len(opponents) > 1:
        for colour, key in zip(_colours(len(opponents)), opponents, strict=True):
            label = f"against {key.removeprefix(AGAINST)}"
            _band(axes, [_scaled(curve.series(x, key), scale) for curve in curves], colour, label, each=False)
    else:
        for colour, (name, group) in zip(_colours(len(named)), named.items(), strict=True):
            _band(axes, [_scaled(curve.series(x, "recent_return"), scale) for curve in group], colour, name)
    if len(curves) == 1:
        points = _scaled(curves[0].series(x, "episode_return"), scale)
        if len(points[0]):
            axes.plot(*points, ".", color=COLOURS[0], alpha=0.3, markersize=4, zorder=1, label="between two reports")
    ended = f" against {opponents[0].removeprefix(AGAINST)}" if len(opponents) == 1 else ""
    axes.set_ylabel(f"episode return{ended}")


def _draw_terms(axes: Axes, named: dict[str, list[Curve]], terms: Sequence[str], one: str) -> None:
    """Several terms of one group, or one term of several groups."""
    if len(named) > 1:
        for colour, (name, curves) in zip(_colours(len(named)), named.items(), strict=True):
            _band(axes, [curve.series("env_steps", one) for curve in curves], colour, name)
        return
    (curves,) = named.values()
    for colour, term in zip(COLOURS, terms, strict=False):
        label = term.removesuffix("_loss").replace("_", " ")
        series = [curve.series("env_steps", term) for curve in curves]
        if term == "consistency_loss":  # a negative cosine, which a logarithmic axis cannot show
            label, series = "consistency + 1", [(x, y + 1) for x, y in series]
        _band(axes, series, colour, label, each=False)


def _draw_final(axes: Axes, named: dict[str, list[Curve]]) -> None:
    """Greedy episodes as dots, each run's mean with its interval, and over the seeds of a group the same as a band."""
    rng = np.random.default_rng(0)
    labels: list[str] = []
    for colour, (name, group) in zip(_colours(len(named)), named.items(), strict=True):
        evaluated = [curve for curve in group if curve.evaluation]
        first = len(labels)
        for curve in evaluated:
            x, mean = len(labels), curve.evaluation["mean_return"]
            low, high = curve.evaluation["ci95"]
            returns = np.array(curve.evaluation["returns"])
            axes.plot(x + rng.uniform(-0.22, 0.22, len(returns)), returns, ".", color=colour, alpha=0.2, markersize=5)
            # A mean may lie outside an interval of resampled ones by rounding; a bar of negative length is an error.
            bar = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
            axes.errorbar(x, mean, bar, fmt="o", color=colour, markersize=6, capsize=4)
            labels.append(f"seed {curve.config.seed}\n{mean:.4g}")
        if len(evaluated) > 1:
            from muzen.evaluate import confidence_interval  # loads jax, which nothing else here needs

            means = np.array([curve.evaluation["mean_return"] for curve in evaluated])
            ends = first - 0.4, len(labels) - 0.6
            axes.fill_between(ends, *confidence_interval(means), color=colour, alpha=0.2, linewidth=0)
            axes.plot(ends, [means.mean()] * 2, color=colour, label=f"{name}: {means.mean():.4g}")
    axes.set_title("Greedy return, 95 % intervals")
    if not labels:
        axes.text(0.5, 0.5, "not evaluated yet", transform=axes.transAxes, ha="center", color="#5f6368")
        axes.set_xticks([])
        axes.set_yticks([])
        return
    axes.set_xticks(range(len(labels)), labels, fontsize=9 if len(labels) <= 6 else 7)
    if len(labels) > 12:
        axes.tick_params(axis="x", labelrotation=90)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylabel("episode return")
    axes.grid(axis="x", visible=False)
    axes.margins(y=0.1)
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best", framealpha=0.8, frameon=True, edgecolor="none")


def _band(
    axes: Axes, series: Sequence[tuple[np.ndarray, np.ndarray]], colour: str, label: str, *, each: bool = True
) -> None:
    """The mean of several curves on their common range, with a band from the lowest to the highest."""
    series = [(x, y) for x, y in series if len(x)]
    if not series:
        return
    if len(series) == 1:
        axes.plot(*series[0], color=colour, label=label)
        return
    label = f"{label} ({len(series)} seeds)" if each else label
    low, high = max(x[0] for x, _ in series), min(x[-1] for x, _ in series)
    for i, (x, y) in enumerate(series if each or high <= low else []):
        alone = label if high <= low and i == 0 else None
        axes.plot(x, y, color=colour, alpha=0.25 if high > low else 1, linewidth=0.9, label=alone)
    if high <= low:  # no stretch that all of them cover, so no mean
        return
    grid = np.linspace(low, high, GRID)
    values = np.array([np.interp(grid, x, y) for x, y in series])
    axes.fill_between(grid, values.min(0), values.max(0), color=colour, alpha=0.15, linewidth=0)
    axes.plot(grid, values.mean(0), color=colour, label=label, linewidth=2.2)


def _scaled(series: tuple[np.ndarray, np.ndarray], scale: float) -> tuple[np.ndarray, np.ndarray]:
    return series[0] / scale, series[1]


def _colours(count: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(count)]


def _thousands(value: float, _: Any) -> str:
    return f"{value / 1e6:g} M" if abs(value) >= 1e6 else f"{value / 1e3:g} k" if abs(value) >= 1e3 else f"{value:g}"


def _log_scale_if_wide(axes: Axes) -> None:
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(1)])
    positive = values[values > 0]
    if len(positive) and positive.max() > 20 * positive.min():
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
        axes.yaxis.set_minor_formatter("{x:g}" if positive.max() < 100 * positive.min() else NullFormatter())


def _finish(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.set_xlim(left=0)
    if not axes.lines and not axes.collections:
        axes.text(0.5, 0.5, "nothing recorded yet", transform=axes.transAxes, ha="center", color="#5f6368")
    elif axes.get_legend_handles_labels()[1]:
        axes.legend(loc="best")


def save_figure(figure: Figure, out: Path) -> None:
    """Write a matplotlib figure, in the format that the name ends in.

    Raises:
      StorageError: it cannot be written.
    """
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out, dpi=130, format=out.suffix[1:].lower() or "png")
    except OSError as error:
        raise StorageError(f"{out}: cannot be written: {error.strerror or error}") from error
