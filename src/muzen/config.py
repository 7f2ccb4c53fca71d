"""Every setting of a run, with its meaning, unit and default; validation and strict reading.

The dataclasses are the command line (`muzen train --help`), the `config.json` of a run folder, and the
keyword arguments of `muzen.train`. What differs by environment stands in `presets.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import numbers
import tomllib
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from muzen.errors import ConfigError


@dataclass(frozen=True)
class SearchConfig:
    """Planning: in which model, by which rule, how many simulations, how values are normalised."""

    model: Literal["learned", "rules"] = "learned"
    """What is searched: the learned model (MuZero), or the game's own rules, the network judging (AlphaZero)."""
    rule: Literal["gumbel", "puct"] = "gumbel"
    """How the tree is searched: Gumbel MuZero (sequential halving) or MuZero's pUCT."""
    simulations: int = 16
    """Simulations per move in self-play and reanalysis."""
    reuse_tree: bool = False
    """Go on with what the last search found below the moves made since, in self-play, matches and play; only where
    search.model is rules."""
    max_considered: int = 16
    """Gumbel: root actions considered, at most."""
    c_visit: float = 50.0
    """Gumbel: visits added to the largest count in σ(q) = (c_visit + max N) c_scale q."""
    c_scale: float = 0.1
    """Gumbel: scale of σ(q)."""
    normalise: Literal["node", "tree", "none"] = "tree"
    """Interval that rescales Q to [0, 1]: this node's own values, the whole tree's, or no rescaling."""
    span_floor: float = 0.03
    """Smallest interval that Q is rescaled by, as a share of the spread of value targets (0: none). While the value
    explains nothing of the returns, it is the whole spread."""
    least_spread: float = 0.3
    """The spread counts as at least this share of the largest value, rms reward / (1 - γ)."""
    root_value: Literal["policy", "mean"] = "policy"
    """Search value: Q averaged by the improved policy, or by visits with the network's own value (the paper's)."""
    c1: float = 1.25
    """pUCT: exploration constant c1."""
    c2: float = 19652.0
    """pUCT: exploration constant c2."""
    dirichlet_fraction: float = 0.25
    """pUCT: share of Dirichlet noise in the root's prior, in self-play only."""
    dirichlet_alpha: float = 0.0
    """pUCT: Dirichlet's α; 0 means 10 / legal actions."""
    temperature: float = 1.0
    """pUCT: visit-count temperature at the start of self-play."""
    temperature_end: float = 0.25
    """pUCT: visit-count temperature at the end of training."""


@dataclass(frozen=True)
class NetworkConfig:
    """The built-in networks: an MLP for vectors, residual convolutions for planes."""

    kind: Literal["auto", "mlp", "resnet"] = "auto"
    """MLP, residual convolutions, or whichever fits: convolutions where an observation is planes [C, H, W]."""
    width: int = 64
    """Units of every hidden layer; of the hidden state too in an MLP."""
    channels: int = 32
    """Planes of the hidden state of a residual network."""
    blocks: int = 1
    """Residual blocks in representation and dynamics, each."""
    norm: bool = True
    """LayerNorm before each activation."""
    activation: Literal["relu", "silu"] = "relu"
    """Activation of hidden layers."""
    state_scaling: Literal["minmax", "tanh"] = "minmax"
    """How the hidden state is bounded: the paper's min-max per state, or tanh."""
    normalise_observations: bool = True
    """Scale observations by the mean and deviation of what was seen."""
    past_actions: int = 0
    """The episode's last actions that the network sees beside each observation, where it does not show what matters of
    them; 0: none."""
    learn_legal: bool = True
    """Predict what is legal below the root, in environments that have illegal actions."""


@dataclass(frozen=True)
class EncodingConfig:
    """How values and rewards are encoded as categories."""

    coding: Literal["two_hot", "hl_gauss"] = "two_hot"
    """Two neighbouring bins (the paper's), or a Gaussian histogram over all bins."""
    transform: bool = True
    """Use the paper's transform h(x) = sign(x)(sqrt(|x|+1) - 1) + 0.001 x before binning."""
    bins: int = 41
    """Number of bins."""
    limit: float = 0.0
    """Largest |x| the bins cover, in units of the root mean square reward, or of the most that a game says it pays;
    0: from γ and the rewards of the random steps, and learn.unseen_end where no episode ended in them."""
    hl_sigma: float = 0.75
    """HL-Gauss: standard deviation, in bins."""


@dataclass(frozen=True)
class LearnConfig:
    """The gradient step and its targets."""

    samples_per_step: float = 128.0
    """Sampled sequences per environment step."""
    batch_size: int = 128
    """Sequences per gradient step."""
    ends: float = 0.0
    """Share of the sampled sequences that are moved on to their episode's end, where it has one by rule: ends are few,
    and a model learns late what they look like. Policy and value then see more of them too. Not where search.model is
    rules, which learns no model."""
    unseen_end: float = 100.0
    """What an episode's end may pay where the random steps show none, in root mean square rewards: rewards reach it,
    and values three times as far. Not where reward.limit says how large rewards get, nor in games that say what they
    pay."""
    unroll_steps: int = 5
    """K, steps the model is unrolled; not at all where search.model is rules."""
    n_step: int = 30
    """n, environment steps before the value target bootstraps."""
    td_lambda: float = 0.9
    """λ: how much a value target trusts later steps over each step's stored search value; 1: plain n-step."""
    discount: float = 0.99
    """γ per environment step."""
    learn_discount: bool = True
    """Predict where episodes end; otherwise γ is constant in the tree and ends are absorbing states."""
    correct_off_policy: bool = True
    """Trust the outcome of an action only as far as the stored search policy would take it (V-trace's ρ and c)."""
    bootstrap: Literal["target", "search"] = "search"
    """What the value target bootstraps from: the target network's value, or the stored search value."""
    target_update: int = 200
    """Gradient steps between copies to the target network."""
    average_decay: float = 0.99
    """Decay per gradient step of the averaged weights that act, reanalyse and are evaluated; 0: none."""
    learning_rate: float = 2e-3
    """Peak learning rate."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run's environment steps."""
    warmup_updates: int = 100
    """Gradient steps of linear learning-rate warm-up."""
    optimizer: Literal["adam", "muon", "sgd"] = "adam"
    """Adam or Muon (with Adam for what is no matrix), weight decay decoupled; or SGD with momentum 0.9 and L2."""
    weight_decay: float = 1e-4
    """Weight decay, on matrices only (not on biases and norms)."""
    clip_norm: float = 5.0
    """Global gradient norm above which a gradient is scaled down."""
    value_weight: float = 0.5
    """Weight of the value loss."""
    reward_weight: float = 1.0
    """Weight of the reward loss."""
    policy_weight: float = 1.0
    """Weight of the policy loss."""
    discount_weight: float = 1.0
    """Weight of the loss of the predicted end of the episode."""
    consistency_weight: float = 2.0
    """Weight of the consistency loss between unrolled and real states; 0: off."""
    reconstruction_weight: float = 0.0
    """Weight of the loss of the observations that unrolled states stand for, entries clipped to 0..1 and taken as
    probabilities, summed over planes, mean over cells; 0: off. Where what follows a move is hard to learn from rewards
    and values alone. Convolutions, and networks of your own that have `reconstruct`."""
    legal_weight: float = 1.0
    """Weight of the loss of what is legal, where the network learns that."""
    to_play_weight: float = 1.0
    """Weight of the loss of who moves, in games whose players don't take turns."""
    augment: bool = True
    """Turn each sampled sequence by a random symmetry of the board, where the game declares some."""


@dataclass(frozen=True)
class ReplayConfig:
    """What is stored, and how it is sampled."""

    max_gb: float = 1.0
    """Memory the replay may take, in 10^9 bytes."""
    max_steps: int = 1_000_000
    """Environment steps kept, at most; the oldest go first."""
    priority_alpha: float = 0.0
    """α of P(i) ∝ p_i^α; 0: uniform."""
    priority_beta: float = 1.0
    """β of the importance weights (1/(N P(i)))^β."""


@dataclass(frozen=True)
class ReanalyseConfig:
    """Fresh targets for stored positions."""

    positions_per_step: float = 16.0
    """Stored positions searched again per environment step, policy and search value rewritten; 0: off."""
    batch_size: int = 256
    """Positions per search."""
    values_per_step: float = 0.0
    """Stored positions per environment step whose search value the network's own takes the place of, which costs a
    hundredth of a search; 0: off. Where value targets bootstrap from values of thousands of steps ago, and γ forgets
    slowly, values stay wrong for a whole run."""


@dataclass(frozen=True)
class ActConfig:
    """Self-play."""

    environments: int = 8
    """Environments stepped together."""
    random_steps: int = 200
    """Environment steps of uniformly random actions before learning starts."""
    temperature: float = 1.0
    """Scale of the noise of actions in the first environment, and in all of them between spells, once the value
    explains the returns."""
    temperature_last: float = 5.0
    """The same in the last environment; those between are spaced evenly in logarithm."""
    blind_temperature: float = 20.0
    """The same in every environment while the value explains nothing; in between by the share that it explains."""
    blind_hold_steps: float = 5.0
    """Environment steps that noise is held for on average while the value explains nothing; 1 once it explains all, but
    between spells."""
    noise_steps: float = 0.0
    """Mean length, in environment steps, of a spell of fresh noise, and of the spell after it, in which noise has the
    scale act.temperature and is held for as long. 0: no spells, fresh noise always."""
    sample_moves: int = 0
    """Moves of an episode, by all players, that are sampled with noise; later ones are greedy. 0: all are sampled."""
    random_openings: float = 0.0
    """Share of episodes that begin with random moves."""
    opening_moves: int = 0
    """Random moves that such an episode begins with, at most."""
    resign_below: float = 0.0
    """Games of two: a player whose search value is below this resigns, in units of reward; 0: nobody does."""
    resign_never: float = 0.1
    """Share of games that are played on all the same, to measure how often resigning was wrong."""


@dataclass(frozen=True)
class EvaluateConfig:
    """The evaluation at the end of training, and a game's learning curve; `muzen evaluate` has episodes and a seed of
    its own."""

    episodes: int = 100
    """Greedy episodes at the end of training."""
    simulations: int = 0
    """Simulations per move; 0: as in self-play."""
    seed: int = 1_000_000
    """Seed of the evaluation's and the curve's episodes."""
    max_steps: int = 27_000
    """Environment steps after which an evaluation episode is cut off, where the environment has no limit of its own."""
    curve_points: int = 20
    """Games: how often in a run the agent meets the opponents below, for the learning curve; 0: never."""
    curve_games: int = 20
    """Games: how many each time, against each of them."""
    opponents: str = "random"
    """Games: whom it meets for the curve, as in muzen arena: random,minimax:3; the running return is of the first."""


@dataclass(frozen=True)
class Config:
    """A whole run."""

    env_id: str
    """A Gymnasium id, openspiel:GAME(params), or python:module:function."""
    seed: int = 0
    """Everything random in the run follows from it."""
    env_steps: int = 50_000
    """Budget in environment steps, random ones included."""
    minutes: float = 0.0
    """Wall-clock budget in minutes; 0: none."""
    checkpoint_minutes: float = 1.0
    """Minutes between checkpoints."""
    schedule: Literal["interleaved", "overlapped"] = "interleaved"
    """Act and learn in turn, or at once in two threads: the weights that act are then a turn older."""
    devices: int = 0
    """Devices that each batch to learn from, and each large search, is divided over; on a CPU its cores. 0: two cores
    for the built-in convolutions, where JAX runs on a CPU with two and has not started with fewer devices, and
    otherwise one; the run keeps which. Only with the schedule interleaved."""
    search: SearchConfig = field(default_factory=SearchConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    value: EncodingConfig = field(default_factory=EncodingConfig)
    reward: EncodingConfig = field(default_factory=EncodingConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    reanalyse: ReanalyseConfig = field(default_factory=ReanalyseConfig)
    act: ActConfig = field(default_factory=ActConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)


# Ranges: one table, so that the command line, files and Python refuse the same values.


class Range(typing.NamedTuple):
    """The values a number may have; `above` excludes `low` itself."""

    low: float = -math.inf
    high: float = math.inf
    above: bool = False

    def holds(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and value <= self.high

    def __str__(self) -> str:
        if self.low == -math.inf:
            return f"at most {self.high}"
        floor = f"above {self.low}" if self.above else f"at least {self.low}"
        return floor if self.high == math.inf else f"{floor} and at most {self.high}"


_SHARE, _COUNT, _SIZE, _WEIGHT, _POSITIVE = Range(0, 1), Range(0), Range(1), Range(0), Range(0, above=True)
_SEED = Range(0, 2**31 - 1)

RANGES: dict[type, dict[str, Range]] = {
    SearchConfig: {
        "simulations": _SIZE,
        "max_considered": _SIZE,
        "c_visit": _COUNT,
        "c_scale": _COUNT,
        "span_floor": _COUNT,
        "least_spread": _COUNT,
        "c1": _COUNT,
        "c2": Range(1),
        "dirichlet_fraction": _SHARE,
        "dirichlet_alpha": _COUNT,
        "temperature": _COUNT,
        "temperature_end": _COUNT,
    },
    NetworkConfig: {"width": _SIZE, "channels": _SIZE, "blocks": _SIZE, "past_actions": Range(0, 1000)},
    EncodingConfig: {"bins": Range(3, 10_001), "limit": _COUNT, "hl_sigma": _POSITIVE},
    LearnConfig: {
        "samples_per_step": _POSITIVE,
        "batch_size": _SIZE,
        "ends": _SHARE,
        "unseen_end": _COUNT,
        "unroll_steps": _SIZE,
        "n_step": _SIZE,
        "td_lambda": _SHARE,
        "discount": Range(0, 1, above=True),
        "target_update": _SIZE,
        "average_decay": _SHARE,
        "learning_rate": _POSITIVE,
        "warmup_updates": _COUNT,
        "weight_decay": _WEIGHT,
        "clip_norm": _POSITIVE,
        "value_weight": _WEIGHT,
        "reward_weight": _WEIGHT,
        "policy_weight": _WEIGHT,
        "discount_weight": _WEIGHT,
        "consistency_weight": _WEIGHT,
        "reconstruction_weight": _WEIGHT,
        "legal_weight": _WEIGHT,
        "to_play_weight": _WEIGHT,
    },
    ReplayConfig: {
        "max_gb": _POSITIVE,
        "max_steps": _SIZE,
        "priority_alpha": _COUNT,
        "priority_beta": _SHARE,
    },
    ReanalyseConfig: {"positions_per_step": _COUNT, "batch_size": _SIZE, "values_per_step": _COUNT},
    ActConfig: {
        "environments": _SIZE,
        "random_steps": _COUNT,
        "temperature": _POSITIVE,
        "temperature_last": _POSITIVE,
        "blind_temperature": _POSITIVE,
        "blind_hold_steps": _SIZE,
        "noise_steps": _COUNT,
        "sample_moves": _COUNT,
        "random_openings": _SHARE,
        "opening_moves": _COUNT,
        "resign_below": Range(high=0),
        "resign_never": _SHARE,
    },
    EvaluateConfig: {
        "episodes": _SIZE,
        "simulations": _COUNT,
        "seed": _SEED,
        "max_steps": _SIZE,
        "curve_points": _COUNT,
        "curve_games": _SIZE,
    },
    Config: {
        "seed": _SEED,
        "env_steps": _SIZE,
        "minutes": _COUNT,
        "checkpoint_minutes": _COUNT,
        "devices": _COUNT,
    },
}
"""What every number of every section may be; a test asserts that none is left out."""


def validate(config: Config) -> Config:
    """Return `config` if every field has its type and range, and fields agree with each other.

    Raises:
      ConfigError: names the field, its value, the rule and the way out.
    """
    _build(Config, to_dict(config), "", None)
    if not config.env_id:
        raise ConfigError("env_id: '' is empty; give a Gymnasium id such as CartPole-v1")
    if config.search.reuse_tree and config.search.model != "rules":
        raise ConfigError(
            f"search.reuse_tree: true with search.model {config.search.model}; the moves that a learned model foresaw "
            "are not the real ones: use search.model rules, or false"
        )
    if config.learn.batch_size % max(config.devices, 1):
        raise ConfigError(
            f"devices: {config.devices} cannot divide learn.batch_size {config.learn.batch_size} evenly; "
            f"use a batch of {-(-config.learn.batch_size // config.devices) * config.devices}, other devices, or 0 to "
            "let Muzen choose"
        )
    if config.devices > 1 and config.schedule == "overlapped":
        # While a search holds one of XLA's threads, half of a gradient step waits in the other for the half behind it;
        # after a minute XLA ends the process.
        raise ConfigError(
            f"devices: {config.devices} with schedule overlapped; dividing fills the cores that overlapping would: "
            "use schedule interleaved, or devices 1"
        )
    if config.learn.ends > 0 and config.replay.priority_alpha > 0:
        raise ConfigError(
            f"learn.ends: {config.learn.ends} with replay.priority_alpha {config.replay.priority_alpha}; a sequence "
            "that is moved on was not drawn by its priority: use 0 for one of them"
        )
    if 0 < config.act.noise_steps < 1:
        raise ConfigError(
            f"act.noise_steps: {config.act.noise_steps} is shorter than a step; use 0 for no spells, or at least 1"
        )
    rows = config.replay.max_steps // config.act.environments
    window = config.learn.unroll_steps + config.learn.n_step + 1
    if rows < window:
        raise ConfigError(
            f"replay.max_steps: {config.replay.max_steps} leaves {rows} steps to each of act.environments "
            f"{config.act.environments}; learn.unroll_steps and learn.n_step need {window}: "
            f"use at least {window * config.act.environments}"
        )
    return config


def config_from_dict(data: Any, base: Config | None = None) -> Config:
    """Read a nested mapping strictly: {"env_id": ..., "search": {"simulations": ...}}.

    Args:
      data: what a JSON or TOML file holds; any value is met with a Config or a ConfigError.
      base: where fields that `data` leaves out come from; None: the defaults.

    Raises:
      ConfigError: a field is unknown, misspelt, of the wrong type, out of range, or missing.
    """
    return validate(_build(Config, data, "", base))


def load_config(path: str | Path, base: Config | None = None) -> Config:
    """Read a .json or .toml file as `config_from_dict` does.

    Raises:
      ConfigError: the file cannot be read, cannot be parsed, or holds a wrong field.
    """
    path = Path(path)
    readers = {".json": json.loads, ".toml": tomllib.loads}
    if path.suffix not in readers:
        raise ConfigError(f"{path}: a configuration is a .json or .toml file, not {path.suffix or 'without suffix'}")
    try:
        data = readers[path.suffix](path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not valid {path.suffix[1:].upper()}: {error}") from error
    try:
        return config_from_dict(data, base)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def to_dict(config: Config) -> dict[str, Any]:
    """The nested mapping that `config_from_dict` reads back; JSON and TOML can hold it."""
    return dataclasses.asdict(config)


def flat(config: Config) -> dict[str, Any]:
    """Every setting by its dotted name."""
    found: dict[str, Any] = {}
    for name, value in to_dict(config).items():
        found |= {f"{name}.{key}": inner for key, inner in value.items()} if isinstance(value, dict) else {name: value}
    return found


def override(config: Config, changes: typing.Mapping[str, Any]) -> Config:
    """A copy of `config` with some fields changed.

    Args:
      config: left as it is.
      changes: by dotted name, {"search.simulations": 32}, by section, {"search": {"simulations": 32}},
        or a whole section, {"search": SearchConfig(simulations=32)}.

    Raises:
      ConfigError: as `config_from_dict`.
    """
    nested: dict[str, Any] = {}
    for name, value in changes.items():
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        section, _, key = name.partition(".")
        stated = {key: value} if key else value
        if isinstance(stated, dict) and isinstance(nested.get(section, {}), dict):
            nested.setdefault(section, {}).update(stated)
        elif section in nested:
            raise ConfigError(f"{name}: {section} is given as {nested[section]!r} too; give one of them")
        else:
            nested[section] = stated
    return config_from_dict(nested, config)


@functools.cache
def _hints(section: type) -> dict[str, Any]:
    return typing.get_type_hints(section)


def _build(section: type, data: Any, prefix: str, base: Any) -> Any:
    """One section from a mapping; `prefix` is "" or "search." for messages."""
    if not isinstance(data, dict):
        name = f"{prefix[:-1]}: " if prefix else ""
        raise ConfigError(f"{name}{_show(data)} is not a table of fields")
    hints = _hints(section)
    for name in data:
        if name not in hints:
            raise ConfigError(f"{prefix}{name}: unknown field{_nearest(str(name), list(hints), prefix)}")
    values = {}
    for name, hint in hints.items():
        if name in data:
            held = None if base is None else getattr(base, name)
            values[name] = _value(section, name, hint, data[name], prefix, held)
        elif base is not None:
            values[name] = getattr(base, name)
    if "env_id" in hints and "env_id" not in values:
        raise ConfigError("env_id: missing; give a Gymnasium id such as CartPole-v1")
    return section(**values)


def _value(section: type, name: str, hint: Any, value: Any, prefix: str, base: Any) -> Any:
    where = f"{prefix}{name}"
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type, hint), value, f"{where}.", base)
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{where}: {_show(value)} is not one of {', '.join(choices)}")
        return value
    if not isinstance(value, bool | int | float):  # NumPy's numbers are as good as Python's
        if isinstance(value, numbers.Integral):
            value = int(value)
        elif isinstance(value, numbers.Real):
            value = float(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**53:
        value = float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where}: {_show(value)} is not {_KINDS[hint]}")
    if hint is float and not math.isfinite(value):
        raise ConfigError(f"{where}: {value} is not finite")
    allowed = RANGES[section].get(name)
    if allowed is not None and not allowed.holds(value):
        raise ConfigError(f"{where}: {_show(value)} is out of range; it must be {allowed}")
    return value


_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def check_count(name: str, value: Any, way_out: str = "give a whole number of at least 1") -> None:
    """Raise `ConfigError` naming an argument that is no whole number of at least 1."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        raise ConfigError(f"{name}: {_show(value)} is not a whole number; {way_out}")
    if int(value) < 1:
        raise ConfigError(f"{name}: {value} is below 1; {way_out}")


def check_seed(seed: Any) -> None:
    """Raise `ConfigError` for what is no seed of an evaluation, a film or a game."""
    if not isinstance(seed, numbers.Integral) or isinstance(seed, bool) or not 0 <= int(seed) < 2**31:
        raise ConfigError(f"seed: {_show(seed)} is out of range; give a whole number from 0 to {2**31 - 1}")


def _show(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits; a table nested thousands deep
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _nearest(name: str, siblings: list[str], prefix: str) -> str:
    """'; did you mean X?', from this section first, then from every section."""
    plain = name.replace("-", "_")
    near = difflib.get_close_matches(plain, siblings, n=1)
    if not near:
        every = {}
        for section, hint in _hints(Config).items():
            for leaf in _hints(hint) if dataclasses.is_dataclass(hint) else ():
                every.setdefault(leaf, f"{section}.{leaf}")
            every.setdefault(section, section)
        near = [every[leaf] for leaf in difflib.get_close_matches(plain.rpartition(".")[2], every, n=1, cutoff=0.8)]
    if near:
        return f"; did you mean {near[0]}?"
    return f"; {prefix[:-1] or 'the configuration'} has {', '.join(siblings)}"
