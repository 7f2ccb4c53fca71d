"""A whole run that takes seconds, what it left behind, and a callback that stops it: shared by the tests of runs."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np

import muzen
from muzen.callbacks import Callback
from muzen.config import Config, override
from muzen.envs import spec_of
from muzen.presets import preset
from muzen.runs import Checkpoint, read_metrics

SMALL = {
    "env_steps": 640,
    "devices": 1,  # compiles sooner
    "act.environments": 4,
    "act.random_steps": 64,
    "act.noise_steps": 10,
    "search.simulations": 4,
    "network.width": 16,
    "learn.samples_per_step": 16,
    "learn.batch_size": 32,
    "learn.unroll_steps": 2,  # fewer take less time to compile
    "learn.warmup_updates": 5,
    "learn.ends": 0.0,  # so that replay may be prioritised
    "reanalyse.positions_per_step": 8,
    "reanalyse.values_per_step": 64,
    "reanalyse.batch_size": 64,
    "evaluate.episodes": 3,
}


def small(env_id: str = "CartPole-v1", settings: Mapping[str, Any] | None = None, **changes: Any) -> Config:
    """The preset of an environment, small; `changes` by name, with two underscores for the dot."""
    named = {name.replace("__", "."): value for name, value in changes.items()}
    spec = spec_of(env_id) if env_id.startswith("openspiel:") else None
    return override(preset(env_id, spec), SMALL | dict(settings or {}) | named)


UNTAUGHT = {
    "env_steps": 20,  # random ones: there is nothing to compile for learning
    "act.environments": 1,
    "search.simulations": 4,
    "network.width": 16,
    "evaluate.episodes": 1,
    "evaluate.curve_points": 0,
    "checkpoint_minutes": 100.0,
}


COLUMNS_PAGE = Path(__file__).parent.parent / "docs" / "run_folder.md"


def undocumented(rows: list[dict[str, float]]) -> set[str]:
    """Columns of a metrics table that the page on run folders does not explain."""
    told = COLUMNS_PAGE.read_text(encoding="utf-8").partition("## Columns")[2]
    cells = [line.split("|")[1] for line in told.splitlines() if line.startswith("| `")]
    names = set(re.findall(r"`(\w+)`", " ".join(cells)))
    columns = {re.sub(r"_\d+$", "_0", re.sub("against_.*", "against_NAME", name)) for row in rows for name in row}
    return columns - names


def untaught(env_id: str, out: Path) -> Path:
    """A real run folder of an agent that has learned nothing."""
    return muzen.train(env_id, config=override(preset(env_id, spec_of(env_id)), UNTAUGHT), out=out).folder


def weights(folder: Path) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(eqx.filter(muzen.load(folder).model, eqx.is_array))]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return len(a) == len(b) and all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def table(folder: Path) -> list[dict]:
    """The metrics but for the wall-clock."""
    return [{name: x for name, x in row.items() if name != "seconds"} for row in read_metrics(folder)]


def assert_same_end(folder: Path, whole: muzen.Run) -> None:
    """The run in `folder` ended to the bit as `whole` did: weights, table, all that a resumed run would go on from."""
    assert same(weights(folder), weights(whole.folder))
    assert table(folder) == table(whole.folder)
    ended, expected = (Checkpoint(path).load() for path in (folder, whole.folder))
    assert ended.state | {"seconds": 0} == expected.state | {"seconds": 0}
    assert ended.replay_manifest == expected.replay_manifest
    assert json.loads((folder / "evaluation.json").read_bytes()) == json.loads(json.dumps(whole.evaluation))


class StopAt(Callback):
    """Stops at the first report at or after a number of environment steps."""

    def __init__(self, env_steps: int):
        self.env_steps = env_steps

    def on_report(self, run, row):
        if run.env_steps >= self.env_steps:
            run.stop("test")
