"""CartPole-v1 to a return of 475: Muzen, mujax and Stable-Baselines3, in turn in one run.

    pip install -e . && python benchmarks/peers.py [--seeds 0-4] [--json FILE] [--plot FILE]

Every system trains afresh for each of a fixed list of budgets in environment steps, smallest first, until the final
weights of every seed reach a mean return of 475 over 100 greedy episodes; a run of more than 15 minutes ends its
system. Then those that got there train once more, seed by seed in turn, for the ratios of their times. What counts is
the wall-clock from starting Python to the last gradient step, imports and compiling included, and environment steps,
all that were taken before the last gradient step. JAX keeps compiled programs between runs, the peer's as well as ours.

It takes hours. With --json every run is written down when it ends, and the same command goes on after what is there.

Each peer lives in a virtual environment of its own in the user's cache folder, made at the first run: Stable-Baselines3
2.9.2 on torch 2.13.0, DQN and PPO with the settings of its zoo for CartPole-v1; mujax 0.1.3, once as its README has it,
and once with the small network that its command line recommends for classic control and more learning for each step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np

ENV_ID, GOAL, EPISODES, FIRST_SEED = "CartPole-v1", 475.0, 100, 1_000_000
BUDGETS = [2_500, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000, 1_000_000, 2_000_000]
LIMIT_S = 900.0
# What each peer's own environment gets, one call of pip after another: torch first, so that pip's own choice of its
# build counts (on Linux that is CUDA's, several GB, where pip is not told otherwise).
INSTALLS = {
    "sb3": (["torch==2.13.0"], ["stable-baselines3==2.9.2"]),
    "mujax": (["mujax==0.1.3"],),
}
SYSTEMS = {
    "Muzen": None,
    "Muzen, overlapped": None,
    "SB3 PPO": "sb3",
    "SB3 DQN": "sb3",
    "mujax": "mujax",
    "mujax, small": "mujax",
}


# --- what runs in the child: each returns (environment steps, greedy policy or the mean return itself) ----------------
def train_muzen(steps: int, seed: int, folder: str, schedule: str = "interleaved") -> tuple[int, float]:
    """The final weights' mean return comes with the run; the clock stops before it is measured."""
    import muzen

    class Trained(muzen.Callback):
        def on_checkpoint(self, run):
            if run.finished:
                trained()

    run = muzen.train(ENV_ID, seed=seed, env_steps=steps, schedule=schedule, out=folder, callbacks=[Trained()])
    assert run.evaluation["episodes"] == EPISODES
    return run.evaluation["env_steps_trained"], run.evaluation["mean_return"]


def train_ppo(steps: int, seed: int) -> tuple[int, Callable]:
    from stable_baselines3 import PPO
    from stable_baselines3.common.env_util import make_vec_env

    model = PPO(
        "MlpPolicy",
        make_vec_env(ENV_ID, n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        gae_lambda=0.8,
        gamma=0.98,
        n_epochs=20,
        ent_coef=0.0,
        learning_rate=lambda left: left * 0.001,
        clip_range=lambda left: left * 0.2,
        seed=seed,
        device="cpu",
    )
    model.learn(steps)
    return model.num_timesteps, lambda x: model.predict(x, deterministic=True)[0]


def train_dqn(steps: int, seed: int) -> tuple[int, Callable]:
    from stable_baselines3 import DQN
    from stable_baselines3.common.env_util import make_vec_env

    model = DQN(
        "MlpPolicy",
        make_vec_env(ENV_ID, n_envs=1, seed=seed),
        learning_rate=2.3e-3,
        batch_size=64,
        buffer_size=100_000,
        learning_starts=1_000,
        gamma=0.99,
        target_update_interval=10,
        train_freq=256,
        gradient_steps=128,
        exploration_fraction=0.16,
        exploration_final_eps=0.04,
        policy_kwargs={"net_arch": [256, 256]},
        seed=seed,
        device="cpu",
    )
    model.learn(steps)
    return model.num_timesteps, lambda x: model.predict(x, deterministic=True)[0]


def train_mujax(steps: int, seed: int, small: bool = False) -> tuple[int, Callable]:
    import gymnasium
    from mujax import ExperimentConfig, GMZConfig, run_experiment
    from mujax.algorithms import algorithm_for
    from mujax.inference import Policy
    from mujax.types import as_vector_env, make_environment_spec

    class Counted(gymnasium.vector.VectorWrapper):
        steps = 0

        def step(self, actions):
            Counted.steps += self.num_envs
            return super().step(actions)

    def make(_seed: int) -> Any:
        mode = {"autoreset_mode": gymnasium.vector.AutoresetMode.SAME_STEP}
        return Counted(gymnasium.make_vec(ENV_ID, num_envs=16, vectorization_mode="sync", vector_kwargs=mode))

    config = GMZConfig(batch_size=256)
    if small:
        config = GMZConfig(batch_size=256, replay_ratio=32.0, min_replay_size=1_000).with_size("S")
    # Nothing is learned before replay holds its least; a budget below that gives it one gradient step.
    updates = config.num_learner_steps(max(0, steps - config.min_replay_size))
    config = config.with_num_steps(updates)
    experiment = ExperimentConfig(config=config, environment_factory=make, max_num_learner_steps=updates, seed=seed)
    learner = run_experiment(experiment)
    taken = Counted.steps
    algorithm = algorithm_for(config)
    env = as_vector_env(make(seed))
    spec = make_environment_spec(env)
    import jax

    graph, _ = algorithm.init(spec, config, jax.random.PRNGKey(0))
    params = learner.get_params()
    params = params[0] if isinstance(params, tuple) else params
    policy = Policy(algorithm.make_policy(graph, spec, config, True), params, spec.num_actions)
    return taken, policy.act


def trained() -> None:
    """Stop the clock: the parent reads the line."""
    print(json.dumps({"trained": time.time()}), flush=True)


def mean_return(policy: Callable) -> float:
    """Of 100 greedy episodes, side by side."""
    import gymnasium

    envs = [gymnasium.make(ENV_ID) for _ in range(EPISODES)]
    now = np.stack([env.reset(seed=FIRST_SEED + i)[0] for i, env in enumerate(envs)])
    totals, going = np.zeros(EPISODES), np.ones(EPISODES, bool)
    while going.any():
        actions = np.asarray(policy(now))
        for i in np.flatnonzero(going):
            now[i], reward, terminated, truncated, _ = envs[i].step(int(actions[i]))
            totals[i] += float(reward)
            going[i] = not (terminated or truncated)
    return float(totals.mean())


def child(system: str, steps: int, seed: int, folder: str) -> None:
    """Train one system and print what came of it."""
    if system.startswith("Muzen"):
        taken, found = train_muzen(steps, seed, folder, "overlapped" if "overlapped" in system else "interleaved")
    else:
        train = {"SB3 PPO": train_ppo, "SB3 DQN": train_dqn, "mujax": train_mujax}.get(system)
        taken, policy = train(steps, seed) if train else train_mujax(steps, seed, small=True)
        trained()
        found = mean_return(policy)
    print(json.dumps({"env_steps": taken, "return": found}), flush=True)


# --- the parent -----------------------------------------------------------------------------------------------------
def home(peer: str) -> Path:
    """The folder of a peer's own environment."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("muzen")) / "peers" / peer


def python_of(peer: str | None) -> str:
    """The interpreter of a peer's own environment, made if it is not there yet."""
    if peer is None:
        return sys.executable
    folder = home(peer)
    python, done = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), folder / "installed"
    if not done.exists():
        common.say(f"installing {peer} into {folder}")
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        for packages in INSTALLS[peer]:
            subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        done.write_text("\n".join(p for packages in INSTALLS[peer] for p in packages))
    return str(python)


def run_once(system: str, steps: int, seed: int, limit_s: float, tries: int = 2) -> dict[str, Any]:
    """One training in a process of its own: seconds, environment steps, return; or why there is none."""
    import tempfile

    peer = SYSTEMS[system]
    with tempfile.TemporaryDirectory() as folder:
        command = [python_of(peer), str(Path(__file__).resolve()), "--child", system, "--budgets", str(steps)]
        command += ["--seeds", str(seed), "--folder", f"{folder}/run"]
        environment = dict(os.environ)
        if peer is not None:
            cache = {"JAX_COMPILATION_CACHE_DIR": str(home(peer) / "jax"), "PYTHONPATH": ""}
            environment |= cache | {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.2"}
        began = time.time()
        try:
            # Evaluation is not limited; ten minutes are more than any of them takes.
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limit_s + 600, env=environment, cwd=folder
            )
        except subprocess.TimeoutExpired:
            return {"seconds": None, "why": f"more than {limit_s:.0f} s"}
    said = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 and tries > 1:  # the machine's doing, maybe: a row is not decided by one crash
        return run_once(system, steps, seed, limit_s, tries - 1)
    if done.returncode != 0 or len(said) < 2:
        return {"seconds": None, "why": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    seconds = said[-2]["trained"] - began
    if seconds > limit_s:
        return {"seconds": seconds, "why": f"more than {limit_s:.0f} s"}
    return {"seconds": seconds} | said[-1]


class Notes:
    """Every run that was measured, kept in a file if there is one.

    Args:
      path: written after each run; runs that it holds are not measured again.
      about: the machine, and what else a run depends on; a file of another one is refused.
    """

    def __init__(self, path: Path | None, about: dict[str, Any]):
        self.path, self.about, self.parts = path, about, {"climb": [], "in_turn": []}
        if path is not None and path.exists():
            held = json.loads(path.read_text(encoding="utf-8"))
            if any(held["machine"].get(name) != about[name] for name in about if not name.startswith("load")):
                raise SystemExit(f"--json: {path} is of another machine or other versions; give another file")
            self.about, self.parts = held["machine"], {name: held[name] for name in self.parts}

    def measured(self, part: str, system: str, steps: int, seed: int, limit_s: float) -> dict[str, Any]:
        """A run of one part: the one that was measured before, or a new one."""
        which = {"system": system, "budget": steps, "seed": seed}
        for run in self.parts[part]:
            if which.items() <= run.items():
                return run
        run = which | run_once(system, steps, seed, limit_s)
        self.parts[part].append(run)
        self.keep({})
        cells = [f"{name} {x:.4g}" if isinstance(x, float) else f"{name} {x}" for name, x in run.items()]
        common.say("  ".join([*cells, *([] if part == "climb" else ["in turn"])]))
        return run

    def keep(self, found: dict[str, Any]) -> None:
        """Write everything so far, and what was found of it."""
        if self.path is not None:
            from muzen.files import write_atomic  # the peers' own environments have no Muzen

            text = json.dumps({"machine": self.about, "goal": GOAL, **found, **self.parts}, indent=1) + "\n"
            write_atomic(self.path, text.encode())


def climb(notes: Notes, systems: list[str], budgets: list[int], seeds: list[int], limit_s: float) -> None:
    """Budget by budget, the systems in turn; one that passes with every seed, or takes too long, is done."""
    going = list(systems)
    for steps in budgets:
        for system in list(going):
            passed = True
            for seed in seeds:
                found = notes.measured("climb", system, steps, seed, limit_s)
                if "why" in found:
                    going.remove(system)
                if "why" in found or found["return"] < GOAL:
                    passed = False
                    break
            if passed:
                going.remove(system)


def in_turn(notes: Notes, systems: list[str], seeds: list[int], limit_s: float) -> dict[str, list[float]]:
    """{system: seconds by seed} of those that got there, each seed of all of them one after another."""
    runs = notes.parts["climb"]
    passed = {row["system"]: row["budget"] for row in results(runs, systems, seeds, {}) if row["budget"]}
    times: dict[str, list[float]] = {system: [] for system in passed}
    if len(passed) < 2:
        return {}
    for seed in seeds:
        for system, budget in passed.items():
            found = notes.measured("in_turn", system, budget, seed, limit_s)
            times[system].append(found["seconds"] or float("nan"))
    return times


def results(
    runs: list[dict[str, Any]], systems: list[str], seeds: list[int], times: dict[str, list[float]]
) -> list[dict[str, Any]]:
    """What each system needed, and how many times more than the first one.

    Args:
      runs: of `climb`.
      systems, seeds: as given.
      times: of `in_turn`; where there are some, they are the seconds that count.
    """
    rows = []
    for system in systems:
        own = [run for run in runs if run["system"] == system]
        last = [run for run in own if run["budget"] == max(run["budget"] for run in own)]
        row: dict[str, Any] = {"system": system, "budget": None}
        if len(last) == len(seeds) and all(run.get("return", 0) >= GOAL for run in last):
            row["budget"] = last[0]["budget"]
            row["env_steps"] = common.summary([run["env_steps"] for run in last])
            row["seconds"] = common.summary(times.get(system) or [run["seconds"] for run in last])
            row["returns"] = [run["return"] for run in last]
        else:
            best = max((run.get("return", 0.0) for run in own), default=0.0)
            row["why"] = last[-1].get("why", f"not within {last[-1]['budget']} steps; best return {best:.0f}")
        rows.append(row)
    first = rows[0]
    for row in rows[1:]:
        if row["budget"] and first["budget"]:
            row["env_steps, times"] = row["env_steps"]["median"] / first["env_steps"]["median"]
            if times:
                row["seconds, times"] = common.ratio(times, row["system"], first["system"])
    return rows


def plot(rows: list[dict[str, Any]], about: str, path: Path) -> None:
    """Two bars for each system; one that did not get there says so."""
    from muzen.plots import COLOURS

    drawn, both = common.figure(2, height=0.42 * len(rows) + 1.4)
    places = np.arange(len(rows))[::-1]
    for axes, name, title in zip(
        both, ("env_steps", "seconds"), ("environment steps to 475", "seconds to 475"), strict=True
    ):
        for y, row in zip(places, rows, strict=True):
            if row["budget"] is None:
                axes.text(0.02, y, row["why"], transform=axes.get_yaxis_transform(), va="center", fontsize=8)
                continue
            colour = COLOURS[0] if row["system"].startswith("Muzen") else "#9aa0a6"
            found = row[name]
            axes.barh(y, found["median"], 0.6, color=colour)
            axes.errorbar(
                found["median"],
                y,
                xerr=[[found["median"] - found["low"]], [found["high"] - found["median"]]],
                color="#202124",
                lw=1,
            )
            axes.annotate(f" {found['median']:,.0f}", (found["high"], y), va="center", fontsize=8)
        reached = [row[name][end] for row in rows if row["budget"] for end in ("low", "high")]
        if reached and max(reached) > 5 * min(reached):
            axes.set_xscale("log")
            axes.set_xlim(left=min(reached) / 3)
            axes.xaxis.set_minor_formatter(lambda x, _: "")
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")
        axes.set_ylim(-0.6, len(rows) - 0.4)
        axes.set_yticks(places, [row["system"] for row in rows] if axes is both[0] else [""] * len(rows))
        axes.set_title(title)
        axes.set_xlim(right=axes.get_xlim()[1] * (2 if axes.get_xscale() == "log" else 1.2))  # room for the numbers
    drawn.supxlabel(about, fontsize=8, color="#5f6368")
    common.save_figure(drawn, path)


def numbers(text: str) -> list[int]:
    """'0-4' or '0,3,7'."""
    low, dash, high = text.partition("-")
    return list(range(int(low), int(high) + 1)) if dash else [int(x) for x in text.split(",")]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--systems", default=";".join(SYSTEMS), help="separated by semicolons")
    parser.add_argument("--seeds", type=numbers, default=numbers("0-4"))
    parser.add_argument("--budgets", type=numbers, default=BUDGETS, help="environment steps, comma separated")
    parser.add_argument("--limit-s", type=float, default=LIMIT_S)
    parser.add_argument("--child", choices=SYSTEMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.budgets[0], options.seeds[0], options.folder)
        return
    systems = options.systems.split(";")
    if unknown := [name for name in systems if name not in SYSTEMS]:
        parser.error(f"--systems: {unknown[0]!r} is not one of {'; '.join(SYSTEMS)}")
    about = common.machine()
    notes = Notes(options.json, about)
    common.say(common.describe(notes.about))
    for peer in dict.fromkeys(SYSTEMS[name] for name in systems):
        python_of(peer)
    climb(notes, systems, options.budgets, options.seeds, options.limit_s)
    times = in_turn(notes, systems, options.seeds, options.limit_s)
    rows = results(notes.parts["climb"], systems, options.seeds, times)
    for row in rows:
        cells = []
        for name, x in row.items():
            form = ".2f" if "times" in name else ",.0f"
            cells.append(f"{name} {common.show(x, form) if isinstance(x, dict) else x}")
        common.say("  ".join(cells))
    notes.keep({"seeds": options.seeds, "rows": rows})
    if options.plot:
        plot(rows, common.describe(notes.about), options.plot)


if __name__ == "__main__":
    main()
