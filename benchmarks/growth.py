"""How costs grow: search with simulations and actions, replay with its size, acting with environments; and the start.

    python benchmarks/growth.py [--parts search,replay,memory,start,acting] [--json FILE] [--plot FILE]

search  microseconds of a simulation less the network's own, as simulations go 16 -> 3200 and actions 2 -> 4672, at 8
        roots; and for each edge that a simulation walks
replay  microseconds to add a step and to draw a sequence, as replay holds 10^4 -> 10^7 steps
memory  bytes of a stored step, by environment
start   seconds from typing `muzen train` to the end of the first gradient steps, with empty caches and with full ones
acting  environment steps and simulations per second of self-play, from 1 to many environments; connect_four needs
        pip install -e ".[games]"
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import numpy as np

from muzen import envs
from muzen.config import ReplayConfig, override
from muzen.experiment import Experiment, choose_devices
from muzen.replay import Replay, Rows
from muzen.replay.columns import bytes_per_row
from muzen.runs import RunFolder
from muzen.types import Environment, EnvSpec, Prediction

SIMULATIONS = [16, 50, 200, 800, 3200]
ACTIONS = [2, 18, 82, 362, 4672]
ROOTS = 8
REPLAY_STEPS = [10_000, 100_000, 1_000_000, 10_000_000]
LANES = 8
ENVIRONMENTS = [1, 2, 4, 8, 16, 32, 64]
MEMORY_OF = ["CartPole-v1", "LunarLander-v3", "openspiel:connect_four", "openspiel:go(board_size=9)"]
ACTING = ["CartPole-v1", "openspiel:connect_four"]
STARTS = ["CartPole-v1", "openspiel:connect_four"]
COLD_STARTS = 3


# --- search ---------------------------------------------------------------------------------------------------------
def search_points(rounds: int) -> list[dict[str, Any]]:
    """Tree and network apart, along both axes."""
    points = [(2, s) for s in SIMULATIONS] + [(a, 50) for a in ACTIONS[1:]]
    return [search_point(actions, simulations, rounds) for actions, simulations in points]


def search_point(actions: int, simulations: int, rounds: int) -> dict[str, Any]:
    import search as side_by_side  # the same network and floor as in benchmarks/search.py; it needs mctx

    given = side_by_side.arguments("mlp", ROOTS, actions)
    runs = {name: side_by_side.program(name, simulations) for name in ("floor", "gumbel", "puct")}
    times = common.in_turn(
        {name: lambda run=run: jax.block_until_ready(run(*given)) for name, run in runs.items()},
        max(5, rounds // 3) if simulations > 800 else rounds,
    )
    row: dict[str, Any] = {"actions": actions, "simulations": simulations}
    for name in runs:
        row[f"{name} us"] = common.summary([t / simulations * 1e6 for t in times[name]])
    for name in ("gumbel", "puct"):
        less = [(a - b) / simulations * 1e6 for a, b in zip(times[name], times["floor"], strict=True)]
        row[f"{name} tree us"] = common.summary(less)
        row[f"{name} edges"] = edges = edges_walked(side_by_side, name, given, simulations)
        row[f"{name} tree us / edge"] = common.summary([us / edges for us in less])
    return row


def edges_walked(side_by_side: Any, name: str, given: Any, simulations: int) -> float:
    """Mean depth of a tree's nodes, the root left out: how far a simulation walks."""
    from muzen.search import Gumbel, Puct, search
    from muzen.search.tree import records

    parameters, key, observation = given
    state = side_by_side.initial(parameters, observation)
    logits, value = side_by_side.predict(parameters, state)
    zeros = jnp.zeros(ROOTS)
    legal = jnp.ones(logits.shape, bool)
    root = Prediction(zeros[:, None], zeros + 1, zeros.astype(jnp.int32), legal, value[:, None], logits, state)
    rule = Gumbel() if name == "gumbel" else Puct()
    found = search(side_by_side.Model(parameters), root, key, simulations=simulations, rule=rule, explore=True)
    parent = records(found.tree)["parent"]
    depth = np.zeros(parent.shape, np.int64)
    for n in range(1, parent.shape[1]):  # a node's parent was made before it
        depth[:, n] = depth[np.arange(ROOTS), parent[:, n]] + 1
    return float(depth[:, 1:].mean())


# --- replay ---------------------------------------------------------------------------------------------------------
SPEC = EnvSpec("growth", (4,), "float32", 2)
EPISODE = 200


def rows_of(lanes: int, t: np.ndarray) -> Rows:
    """Rows t of every lane, episodes of 200 steps; [T * lanes]."""
    random = np.random.default_rng(int(t[0]))
    t = np.repeat(t, lanes)
    size, where = len(t), t % (EPISODE + 1)
    return Rows(
        random.normal(size=(size, 4)).astype(np.float32),
        random.integers(0, 2, size),
        np.ones((size, 1), np.float32),
        where == EPISODE - 1,
        np.zeros(size, bool),
        where == EPISODE,
        np.zeros(size, np.int32),
        np.ones((size, 2), bool),
        np.full((size, 2), 0.5, np.float32),
        random.normal(size=(size, 1)).astype(np.float32),
        t // (EPISODE + 1),
    )


def replay_point(steps: int, alpha: float, rounds: int) -> dict[str, Any]:
    """A replay filled to the brim: one turn of adding, one batch of 128 sequences."""
    config = ReplayConfig(max_gb=4.0, max_steps=steps, priority_alpha=alpha)
    replay, every = Replay(SPEC, config, LANES, 0), np.arange(LANES)
    t, block = 0, min(10_000, replay.capacity // 4)
    while t < replay.capacity + block:
        replay.add(np.tile(every, block), rows_of(LANES, np.arange(t, t + block)))
        t += block
    turns = [rows_of(LANES, np.array([t + i])) for i in range(100 * (rounds + 3))]
    following = iter(turns)

    def add() -> None:
        for _ in range(100):
            replay.add(every, next(following))

    def draw() -> Any:
        batch = replay.sample(1, 128, unroll_steps=5, n_step=30, discount=0.99, td_lambda=0.9, correct_off_policy=True)
        if alpha:
            replay.update_priorities(batch.index, np.ones((1, 128)))
        return batch

    add()
    draw()
    times: dict[str, list[float]] = {"add": [], "draw": []}
    for _ in range(rounds):
        for name, run, count in (("add", add, 100 * LANES), ("draw", draw, 128)):
            began = time.perf_counter()
            run()
            times[name].append((time.perf_counter() - began) / count * 1e6)
    return {
        "steps": replay.steps,
        "alpha": alpha,
        "add us": common.summary(times["add"]),
        "draw us": common.summary(times["draw"]),
        "bytes": replay.nbytes,
    }


def memory(env_id: str) -> dict[str, Any]:
    config, spec = common.as_trained(env_id)
    observation = int(np.prod(spec.observation_shape)) * np.dtype(spec.observation_dtype).itemsize
    row = {"env": env_id, "bytes a step": bytes_per_row(spec, config.replay), "of these the observation": observation}
    return row | {"steps in 1 GB": int(1e9 // row["bytes a step"])}


# --- start ----------------------------------------------------------------------------------------------------------
def start(env_id: str, repeats: int) -> dict[str, Any]:
    """Seconds from the command to the end of the first gradient steps: with empty caches, then with full ones."""
    config, _ = common.as_trained(env_id)
    steps = config.act.random_steps + 2 * config.act.environments
    cold: list[float] = []
    warm: list[float] = []
    for _ in range(COLD_STARTS):
        with tempfile.TemporaryDirectory() as folder:
            cold.append(started(env_id, steps, Path(folder), 0))
            warm += [started(env_id, steps, Path(folder), turn) for turn in range(1, repeats + 1)]
    return {"env": env_id, "cold s": common.summary(cold), "warm s": common.summary(warm)}


def started(env_id: str, steps: int, folder: Path, turn: int) -> float:
    """Seconds from the command to the checkpoint after its last gradient step, with the caches of `folder`."""
    caches = {"JAX_COMPILATION_CACHE_DIR": f"{folder}/jax", "NUMBA_CACHE_DIR": f"{folder}/numba"}
    caches["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    run = folder / f"run{turn}"
    command = [sys.executable, "-m", "muzen", "train", env_id, "--env-steps", str(steps), "--out", str(run)]
    began = time.time()
    done = subprocess.run(
        [*command, "--evaluate.episodes", "1"], capture_output=True, text=True, env=os.environ | caches
    )
    if done.returncode != 0:
        raise RuntimeError(f"{env_id}: {done.stderr.strip()[-500:]}")
    return (run / "checkpoint" / "checkpoint.json").stat().st_mtime - began


# --- acting ---------------------------------------------------------------------------------------------------------
def acting(env_id: str, environments: int, seconds: float = 3.0) -> dict[str, Any]:
    """Self-play alone: searches, moves, rows into replay; nothing is learned."""
    config, spec = common.as_trained(env_id)
    config = override(config, {"act.environments": environments, "act.random_steps": 0})
    config = override(config, {"devices": choose_devices(config, spec.observation_shape, None)})

    def make() -> Environment:
        return envs.make(env_id, past_actions=spec.past_actions)

    with tempfile.TemporaryDirectory() as folder:
        run = Experiment(config, RunFolder.create(Path(folder) / "run", config), make)
        for _ in range(3):
            run.act()
        speeds, end = [], time.perf_counter() + seconds
        while time.perf_counter() < end:
            began, steps = time.perf_counter(), 0
            while time.perf_counter() - began < seconds / 10:
                steps += run.act()
            speeds.append(steps / (time.perf_counter() - began))
        run.close()
    moves = common.summary(speeds)
    simulations = {name: x * config.search.simulations for name, x in moves.items() if name != "n"}
    return {"env": env_id, "environments": environments, "moves/s": moves, "simulations/s": simulations}


# --- all ------------------------------------------------------------------------------------------------------------
def has_games() -> bool:
    return importlib.util.find_spec("pyspiel") is not None


def playable(names: list[str]) -> list[str]:
    """Without the games that are not installed, and that said."""
    found = [name for name in names if has_games() or not name.startswith("openspiel:")]
    if len(found) < len(names):
        common.say('games left out: pip install -e ".[games]"')
    return found


def measure(part: str, rounds: int) -> list[dict[str, Any]]:
    if part == "search":
        return search_points(rounds)
    if part == "replay":
        return [replay_point(steps, alpha, rounds) for alpha in (0.0, 0.6) for steps in REPLAY_STEPS]
    if part == "memory":
        return [memory(env_id) for env_id in playable(MEMORY_OF)]
    if part == "start":
        return [start(env_id, max(1, rounds // 30)) for env_id in playable(STARTS)]
    return [acting(env_id, e) for env_id in playable(ACTING) for e in ENVIRONMENTS]


def cell(x: Any) -> str:
    if isinstance(x, dict):
        return common.show(x, ".4g")
    return f"{x:.4g}" if isinstance(x, float) else str(x)


def plot(found: dict[str, list[dict[str, Any]]], about: str, path: Path) -> None:
    """Three pictures: the tree's cost, replay's, and self-play's speed; those that were measured."""
    panels = [part for part in ("search", "replay", "acting") if part in found]
    count = len(panels) + ("search" in found)
    drawn, axes = common.figure(min(count, 2), rows=-(-count // 2))
    spaces = iter(axes)
    if "search" in found:
        for name, fixed, title in (
            ("simulations", ("actions", 2), "tree, µs a simulation (8 roots × 2 actions)"),
            ("actions", ("simulations", 50), "tree, µs a simulation (8 roots × 50 simulations)"),
        ):
            rows = [row for row in found["search"] if row[fixed[0]] == fixed[1]]
            rules = {"Gumbel": "gumbel tree us", "pUCT": "puct tree us"}
            curves = {rule: [(r[name], r[column]) for r in rows] for rule, column in rules.items()}
            draw_curves(next(spaces), curves, name, title)
    if "replay" in found:
        curves = {
            f"{what}, {'by priority' if alpha else 'uniform'}": [
                (row["steps"], row[f"{what} us"]) for row in found["replay"] if row["alpha"] == alpha
            ]
            for what in ("add", "draw")
            for alpha in (0.0, 0.6)
        }
        draw_curves(next(spaces), curves, "steps stored", "replay, µs a step or sequence")
    if "acting" in found:
        names = dict.fromkeys(row["env"] for row in found["acting"])
        curves = {
            name: [(row["environments"], row["moves/s"]) for row in found["acting"] if row["env"] == name]
            for name in names
        }
        draw_curves(next(spaces), curves, "environments", "self-play, moves a second")
    for left in spaces:
        left.remove()
    drawn.supxlabel(about, fontsize=8, color="#5f6368")
    common.save_figure(drawn, path)


def draw_curves(axes: Any, curves: dict[str, list[tuple[float, dict[str, float]]]], x: str, title: str) -> None:
    from muzen.plots import COLOURS

    for (name, points), colour in zip(curves.items(), COLOURS, strict=False):
        at = [p for p, _ in points]
        axes.plot(at, [f["median"] for _, f in points], "o-", ms=4, color=colour, label=name)
        axes.fill_between(
            at, [f["low"] for _, f in points], [f["high"] for _, f in points], color=colour, alpha=0.15, lw=0
        )
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(x)
    axes.set_title(title)
    axes.legend()


def main() -> None:
    parser = common.parser(__doc__)
    parts = ("search", "replay", "memory", "start", "acting")
    parser.add_argument("--parts", default=",".join(parts))
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    asked = options.parts.split(",")
    if unknown := [part for part in asked if part not in parts]:
        parser.error(f"--parts: {unknown[0]!r} is not one of {', '.join(parts)}")
    about = common.machine()
    common.say(f"{common.describe(about)}\nmedians, 10th-90th percentile")
    found = {}
    for part in asked:
        common.say(f"--- {part}")
        found[part] = measure(part, options.rounds)
        for row in found[part]:
            common.say("  ".join(f"{name} {cell(x)}" for name, x in row.items()))
    common.report({"machine": about, **found}, options.json)
    if options.plot:
        plot(found, common.describe(about), options.plot)


if __name__ == "__main__":
    main()
