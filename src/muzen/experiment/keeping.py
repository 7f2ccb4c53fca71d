"""What a checkpoint keeps of a run, and how a run stands there again."""

from __future__ import annotations

import dataclasses
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen import devices
from muzen.envs import require_alike
from muzen.errors import ConfigError, RunDamagedError
from muzen.known_rules import packed, unpacked
from muzen.networks import NetworkModel
from muzen.replay import Replay
from muzen.runs import Checkpoint, RunFolder, Weights
from muzen.types import EnvSpec

if TYPE_CHECKING:
    from muzen.experiment.run import Experiment

# What a checkpoint and `keep_weights` call the span floor that the search goes by.
SPAN_FLOOR = "span_floor"
# Attributes of `Experiment` that a checkpoint keeps and a resumed run takes back as they are.
_COUNTERS = (
    "env_steps",
    "turn",
    "updates",
    "episodes",
    "owed_updates",
    "seconds",
    "started",
    "reward_low",
    "reward_high",
    "reward_square",
    "value_spread",
    "least_spread",
    "value_explained",
    "next_report",
    "terminations",
)


def save(run: Experiment) -> None:
    """Write everything that the run needs to go on, atomically."""
    arrays = {f"learner/{name}": x for name, x in _named_arrays(run.learner).items()}
    arrays |= {"normaliser/mean": run.normaliser.mean, "normaliser/m2": run.normaliser.m2}
    arrays |= {"rollout/drawn": run.drawn, "rollout/noisy": run.noisy}
    arrays |= {f"rollout/{name}": getattr(run.rollout, name) for name in ("observation", "to_play", "legal")}
    lines: list[list[int]] = []
    if run.tree is not None and run.planner.simulator is not None:
        tree, lines = packed(run.tree, run.planner.simulator)
        arrays |= {f"tree/{name}": x for name, x in tree.items()}
    counters = {name: getattr(run, name) for name in _COUNTERS} | {"seconds": run.elapsed()}
    state = counters | {
        SPAN_FLOOR: run.span_floor(),
        "warm": run.warm,
        "owed_positions": run.reanalyse.owed,
        "owed_values": run.reanalyse.owed_values,
        "recent": list(run.recent),
        "wrongly_resigned": list(run.wrongly_resigned),
        "window": run.window,
        "normaliser_count": run.normaliser.count,
        "rollout": run.rollout.state(),
        "tree_roots": lines,
        "rng": run.rng.bit_generator.state,
        "health": run.health.state(),
        "metrics_rows": run.metrics.rows,
        "spec": dataclasses.asdict(dataclasses.replace(run.spec, id=run.config.env_id)),
    }
    Checkpoint(run.folder.path).save(arrays, state, run.replay)


def restore(run: Experiment) -> list[str]:
    """Stand where the last checkpoint stood; returns as `Experiment.restore`.

    Raises:
      RunDamagedError: its arrays do not fit this run's network.
      EnvError: the environment does not look like the one that it was trained on.
    """
    saved = Checkpoint(run.folder.path).load()
    state = {"terminations": saved.state["episodes"]} | saved.state  # not counted by older runs
    require_alike(spec_from_dict(state["spec"], run.folder.path), run.spec)
    # Where they will stay: arrays that move after the first gradient step have it compiled twice.
    learner = _restore_arrays(run.learner, saved.arrays, "learner/", run.folder.path)
    run.learner = devices.everywhere(learner, run.mesh)
    _restore_normaliser(run, saved)
    for name in _COUNTERS:
        setattr(run, name, state[name])
    run.warm = state.get("warm", False)  # not kept by older runs
    if run.started:
        run.know_reward_units()
    run.window = {name: list(x) for name, x in state["window"].items()}
    run.recent = deque(state["recent"], maxlen=run.recent.maxlen)
    run.wrongly_resigned = deque(state.get("wrongly_resigned", ()), maxlen=run.wrongly_resigned.maxlen)
    if state.get("tree_roots") and run.planner.simulator is not None:
        tree = {name.removeprefix("tree/"): x for name, x in saved.arrays.items() if name.startswith("tree/")}
        run.tree = unpacked(tree, state["tree_roots"], run.planner.simulator)
    run.reanalyse.owed = state["owed_positions"]
    run.reanalyse.owed_values = state.get("owed_values", 0.0)  # not kept by older runs
    run.rng.bit_generator.state = state["rng"]
    run.health.restore(state["health"])
    run.replay = Replay.load(saved.replay_folder, saved.replay_manifest or {}, run.spec, run.config.replay)
    run.reanalyse.replay = run.replay
    broken = run.rollout.restore(state["rollout"])
    run.drawn = saved.arrays["rollout/drawn"]
    run.noisy = saved.arrays.get("rollout/noisy", run.noisy)  # not kept by runs from before there were spells
    stored = saved.arrays["rollout/observation"]
    shows = (run.rollout.observation != stored).reshape(len(stored), -1).any(1)
    for i in np.flatnonzero(shows | (run.rollout.over != run.replay.awaits_final())):
        broken.setdefault(int(i), f"environment {i} shows another observation than it did, or ended otherwise")
    to_play = saved.arrays.get("rollout/to_play", np.zeros(len(stored), int))  # not kept by older runs
    legal = saved.arrays.get("rollout/legal", np.ones((len(stored), run.spec.num_actions), bool))
    for i in broken:  # what it does now is not what replay has of its episode
        run.replay.cut_off(i, stored[i], int(to_play[i]), legal[i])
        run.rollout.begin_anew(i)
    run.metrics.truncate(run.env_steps, state.get("metrics_rows"))  # not kept by older runs
    Weights(run.folder.path).truncate(run.env_steps)
    return [f"{line}; its episode is cut off there" for line in broken.values()]


def spec_from_dict(data: Any, folder: Path) -> EnvSpec:
    """The environment's facts as a checkpoint keeps them.

    Raises:
      RunDamagedError: a fact is missing or unknown.
    """
    try:
        return EnvSpec(**{**data, "observation_shape": tuple(data["observation_shape"])})
    except (TypeError, KeyError) as error:
        raise RunDamagedError(f"{folder}: the checkpoint's environment facts cannot be read ({error})") from error


def _restore_normaliser(run: Experiment, saved: Any) -> None:
    run.normaliser.mean, run.normaliser.m2 = saved.arrays["normaliser/mean"], saved.arrays["normaliser/m2"]
    run.normaliser.count = saved.state["normaliser_count"]


# What the numbers that a network takes and gives stand for; weights of one network are nothing to another's.
_MEANINGS = ("network", "value", "reward")
# What tells how well values are known, and with them how much noise to act with.
_KNOWLEDGE = ("value_spread", "least_spread", "value_explained")


def begin_warm(run: Experiment, folder: Path) -> None:
    """Begin with what another run learned; see `Experiment.warm_start`."""
    opened = RunFolder.open(folder)
    for section in _MEANINGS:
        theirs, ours = (dataclasses.asdict(getattr(config, section)) for config in (opened.config, run.config))
        for name, value in ours.items():
            if theirs[name] != value:
                raise ConfigError(
                    f"{section}.{name}: {value}, but the weights of {folder} were learned with {theirs[name]}; "
                    "use that, or begin without a warm start"
                )
    theirs, ours = opened.config.learn.discount, run.config.learn.discount
    if theirs != ours and run.spec.largest_return is None and run.config.value.limit == 0:
        raise ConfigError(
            f"learn.discount: {ours}, but the values of {folder} reach as far as its {theirs} lets them; "
            "use that, or begin without a warm start"
        )
    saved = Checkpoint(folder).load()
    model = restore_model(run.learner.average, saved.arrays, folder)
    model = eqx.tree_at(lambda m: m.gamma, model, run.learner.average.gamma)  # a setting, and not learned
    run.each_model(lambda _: jax.tree.map(lambda x: jnp.copy(x) if eqx.is_array(x) else x, model))
    run.warm = saved.state["started"]  # before that, a run has random weights and no units
    if run.warm:
        _restore_normaliser(run, saved)
        for name in _KNOWLEDGE:
            setattr(run, name, saved.state[name])


def keep_weights(run: Experiment) -> None:
    """Keep the weights that act now, for the arena; `restore_model` takes them as it does a checkpoint's."""
    prefix = "learner/.average"
    arrays = {f"{prefix}{name}": x for name, x in _named_arrays(run.learner.average).items()}
    Weights(run.folder.path).save(run.env_steps, arrays | {SPAN_FLOOR: np.array(run.span_floor())})


def restore_model(model: NetworkModel, arrays: dict[str, np.ndarray], folder: Path) -> NetworkModel:
    """The averaged weights of a checkpoint: what acts and is evaluated.

    Raises:
      RunDamagedError: an array is missing or of another shape.
    """
    return _restore_arrays(model, arrays, "learner/.average", folder)


def _named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """Every array leaf of a pytree by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(tree, eqx.is_array))
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in leaves}


def _restore_arrays(tree: Any, arrays: dict[str, np.ndarray], prefix: str, folder: Path) -> Any:
    """The pytree with its array leaves replaced by the stored ones.

    Raises:
      RunDamagedError: an array is missing or of another shape (another network?).
    """

    def replace(path: Any, leaf: Any) -> Any:
        if not eqx.is_array(leaf):
            return leaf
        name = prefix + jax.tree_util.keystr(path)
        stored = arrays.get(name)
        if stored is None or stored.shape != leaf.shape:
            found = "missing" if stored is None else f"of shape {stored.shape}"
            if name.startswith("learner/.optimizer"):  # and not what a network of the user's calls so
                raise RunDamagedError(
                    f"{folder}: array {name} of the optimiser is {found}, this one wants {leaf.shape}. The run was "
                    "trained with another learn.optimizer (its config.json says which), or by a Muzen that kept it "
                    "otherwise (its run.json says which): `muzen evaluate` and `--warm-start` still take its weights"
                )
            raise RunDamagedError(
                f"{folder}: array {name} is {found}, the network wants {leaf.shape}. The run was trained with another "
                "network or other observations: pass the same network= (--network-from) and encodings; its config.json "
                "names network.* (past_actions too) and learn.reconstruction_weight, its run.json the Muzen version"
            )
        return jnp.asarray(stored, leaf.dtype)

    return jax.tree_util.tree_map_with_path(replace, tree)
