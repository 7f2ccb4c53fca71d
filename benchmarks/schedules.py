"""Acting and learning in turn, at once, and divided over two devices: environment steps per second of whole runs.

    python benchmarks/schedules.py [--env CartPole-v1,LunarLander-v3,openspiel:connect_four] [--rounds 5] [--json FILE]

A run's speed is taken between two rows of its own metrics table, after the first row of learning, so that neither
compiling nor evaluation counts. The ways take turns and do the same work:
as many gradient steps for an environment step.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import common

from muzen.runs import read_metrics

WAYS = {
    "interleaved": ["--devices", "1"],
    "overlapped": ["--devices", "1", "--schedule", "overlapped"],
    "divided": ["--devices", "2"],
}
# Environment steps of a run; rows of the metrics table are 500 apart.
STEPS = {"CartPole-v1": 3_000, "LunarLander-v3": 6_000, "openspiel:connect_four": 1_600}
DEFAULT_STEPS = 3_000


def steps_per_second(env_id: str, way: str, steps: int, seed: int, folder: Path) -> float:
    """Of one run in a process of its own."""
    flags = ["--env-steps", str(steps), "--seed", str(seed), *WAYS[way], "--out", str(folder)]
    flags += ["--evaluate.episodes", "1", "--evaluate.max-steps", "1", "--evaluate.curve-points", "0"]
    done = subprocess.run([sys.executable, "-m", "muzen", "train", env_id, *flags], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"{env_id}, {way}: {done.stderr.strip()[-500:]}")
    rows = [row for row in read_metrics(folder) if row["updates"] > 0]
    first, last = rows[0], rows[-1]
    return (last["env_steps"] - first["env_steps"]) / (last["seconds"] - first["seconds"])


def measure(env_id: str, rounds: int, steps: int) -> dict[str, Any]:
    """All ways in turn; which begins alternates."""
    speeds: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(rounds):
            for way in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
                speeds[way].append(steps_per_second(env_id, way, steps, turn, Path(folder) / f"{way}-{turn}"))
    first, *others = WAYS
    row: dict[str, Any] = {"env": env_id, "steps": steps}
    row |= {f"{way} steps/s": common.summary(speeds[way]) for way in WAYS}
    return row | {f"{way} / {first}": common.ratio(speeds, way, first) for way in others}


def main() -> None:
    parser = common.parser(__doc__, plot=False)
    parser.add_argument("--env", default=",".join(STEPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=0, help="environment steps of each run; 0: some by environment")
    options = parser.parse_args()
    about = common.machine()
    common.say(f"{common.describe(about)}\nenvironment steps per second; medians, 10th-90th percentile")
    rows = []
    for env_id in options.env.split(","):
        row = measure(env_id, options.rounds, options.steps or STEPS.get(env_id, DEFAULT_STEPS))
        rows.append(row)
        cells = (f"{name} {common.show(x)}" for name, x in row.items() if isinstance(x, dict))
        common.say(f"{env_id:>24}  " + "  ".join(cells))
    common.report({"machine": about, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
