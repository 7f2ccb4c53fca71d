"""What the measurements share: turns, medians with their ranges, the machine's name, JSON and plots."""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

# A program is called this often in a row, so that a reading takes at least so many seconds.
LEAST_READING_S = 0.005


def parser(doc: str | None, plot: bool = True) -> argparse.ArgumentParser:
    """The flags that every measurement has."""
    made = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, metavar="FILE", help="also write everything measured to FILE")
    if plot:
        made.add_argument("--plot", type=Path, metavar="FILE", help="also draw it as a PNG")
    return made


def as_trained(env_id: str) -> tuple[Any, Any]:
    """(config, spec): what `muzen train ENV_ID` would use, and what its network would see."""
    from muzen import envs
    from muzen.presets import preset

    config = preset(env_id, envs.spec_of(env_id))
    return config, envs.spec_of(env_id, past_actions=config.network.past_actions)


def machine() -> dict[str, Any]:
    """What a figure holds for: processor, cores that this process may use, load, versions."""
    import jax

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load at the start": None if load is None else round(load, 2),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def describe(about: dict[str, Any]) -> str:
    """One line for people; a busy machine says so."""
    busy = about["load at the start"] is not None and about["load at the start"] > 0.5
    line = f"{about['processor']}, {about['cores']} cores, Python {about['python']}, jax {about['jax']}"
    return f"{line}; load {about['load at the start']} at the start: figures of a busy machine" if busy else line


def summary(values: Sequence[float]) -> dict[str, float]:
    """Median, and the range from the 10th to the 90th percentile."""
    low, high = np.percentile(values, [10, 90])
    return {"median": statistics.median(values), "low": float(low), "high": float(high), "n": len(values)}


def ratio(times: dict[str, Sequence[float]], a: str, b: str) -> dict[str, float]:
    """Of a's time over b's, round by round: what else the machine does falls on both."""
    return summary([x / y for x, y in zip(times[a], times[b], strict=True)])


def show(found: dict[str, float] | None, form: str = ".2f") -> str:
    """'1.20 (1.15-1.31)', or a dash."""
    if found is None:
        return "-"
    return f"{found['median']:{form}} ({found['low']:{form}}-{found['high']:{form}})"


def in_turn(programs: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """{name: seconds of one call in each round}, the programs taking turns; each is called twice beforehand.

    A program waits until what it computes is there.
    """
    repeats = {}
    for name, program in programs.items():
        program()
        began = time.perf_counter()
        program()
        repeats[name] = max(1, int(LEAST_READING_S / (time.perf_counter() - began)))
    times: dict[str, list[float]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            began = time.perf_counter()
            for _ in range(repeats[name]):
                program()
            times[name].append((time.perf_counter() - began) / repeats[name])
    return times


def report(result: dict[str, Any], path: Path | None) -> None:
    """Write the JSON, if a file was asked for."""
    if path is not None:
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        say(f"wrote {path}")


def say(line: str) -> None:
    """Print at once: some measurements take hours."""
    print(line, flush=True)


def figure(columns: int, rows: int = 1, height: float = 3.6):
    """(figure, axes [columns]) in the style of Muzen's own plots."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from muzen.plots import STYLE

    matplotlib.rcParams.update(STYLE)
    drawn = Figure(figsize=(5.2 * columns, height * rows), layout="constrained", dpi=150)
    FigureCanvasAgg(drawn)
    return drawn, np.atleast_1d(drawn.subplots(rows, columns)).ravel()


def save_figure(drawn: Any, path: Path) -> None:
    """As a PNG."""
    drawn.savefig(path)
    say(f"wrote {path}")


def peak_bytes(run: Callable[[], Any]) -> int | None:
    """Bytes that this process grew by at its largest while `run` ran; None where it cannot be told (not Linux)."""
    if sys.platform != "linux":
        return None
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:  # what compiling left free would otherwise take in a part of the search, unseen
        trim(0)
    before = _status("VmRSS")
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak counts from here
    except OSError:
        return None
    run()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {name}")
