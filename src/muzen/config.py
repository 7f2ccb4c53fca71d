"""Every setting of a run, with its meaning, unit and default; validation and strict reading.

The dataclasses are the command line (`muzen train --help`), the `config.json` of a run folder, and the
keyword arguments of `muzen.train`. What differs by environment stands in `presets.py`.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import tomllib
import types
import typing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from muzen.errors import ConfigError


@dataclass(frozen=True)
class SearchConfig:
    """Planning: which rule, how many simulations, how values are normalised."""

    rule: Literal["gumbel", "puct"] = "gumbel"
    """How the tree is searched: Gumbel MuZero (sequential halving) or MuZero's pUCT."""
    simulations: int = 16
    """Simulations per move in self-play and reanalysis."""
    max_considered: int = 16
    """Gumbel: root actions considered, at most."""
    c_visit: float = 50.0
    """Gumbel: visits added to the largest count in σ(q) = (c_visit + max N) c_scale q."""
    c_scale: float = 0.1
    """Gumbel: scale of σ(q)."""
    normalise: Literal["node", "tree", "none"] = "tree"
    """Interval that rescales Q to [0, 1]: this node's own values, the whole tree's, or no rescaling."""
    span_floor: float = 0.0
    """Smallest interval that Q is rescaled by, in environment units of value (0: none)."""
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
    """The built-in MLP networks."""

    width: int = 64
    """Units of every hidden layer and of the hidden state."""
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


@dataclass(frozen=True)
class EncodingConfig:
    """How values and rewards are encoded as categories."""

    coding: Literal["two_hot", "hl_gauss"] = "two_hot"
    """Two neighbouring bins (the paper's), or a Gaussian histogram over all bins."""
    transform: bool = True
    """Use the paper's transform h(x) = sign(x)(sqrt(|x|+1) - 1) + 0.001 x before binning."""
    bins: int = 101
    """Number of bins."""
    limit: float = 0.0
    """Largest |x| the bins cover, in units of the reward scale; 0: 1/(1-γ) times the largest reward seen."""
    hl_sigma: float = 0.75
    """HL-Gauss: standard deviation, in bins."""


@dataclass(frozen=True)
class LearnConfig:
    """The gradient step and its targets."""

    samples_per_step: float = 64.0
    """Sampled sequences per environment step."""
    batch_size: int = 128
    """Sequences per gradient step."""
    unroll_steps: int = 5
    """K, steps the model is unrolled."""
    n_step: int = 10
    """n, environment steps before the value target bootstraps."""
    discount: float = 0.99
    """γ per environment step."""
    learn_discount: bool = True
    """Predict where episodes end; otherwise γ is constant in the tree and ends are absorbing states."""
    bootstrap: Literal["target", "search"] = "target"
    """What the value target bootstraps from: the target network's value, or the stored search value."""
    target_update: int = 200
    """Gradient steps between copies to the target network."""
    average_decay: float = 0.0
    """Decay per gradient step of the averaged weights that act, reanalyse and are evaluated; 0: none."""
    learning_rate: float = 1e-3
    """Peak learning rate."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate over the run's environment steps."""
    warmup_updates: int = 100
    """Gradient steps of linear learning-rate warm-up."""
    optimizer: Literal["adam", "sgd"] = "adam"
    """Adam with decoupled weight decay, or SGD with momentum 0.9."""
    weight_decay: float = 1e-4
    """Decoupled weight decay, on matrices only (not on biases and norms)."""
    clip_norm: float = 5.0
    """Global gradient norm above which a gradient is scaled down."""
    value_weight: float = 0.25
    """Weight of the value loss."""
    reward_weight: float = 1.0
    """Weight of the reward loss."""
    policy_weight: float = 1.0
    """Weight of the policy loss."""
    discount_weight: float = 1.0
    """Weight of the loss of the predicted end of the episode."""
    consistency_weight: float = 2.0
    """Weight of the consistency loss between unrolled and real states; 0: off."""


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

    positions_per_step: float = 32.0
    """Stored positions searched again per environment step, policy and search value rewritten; 0: off."""
    batch_size: int = 256
    """Positions per search."""


@dataclass(frozen=True)
class ActConfig:
    """Self-play."""

    environments: int = 8
    """Environments stepped together."""
    random_steps: int = 200
    """Environment steps of uniformly random actions before learning starts."""


@dataclass(frozen=True)
class EvaluateConfig:
    """The evaluation at the end of training, and `muzen evaluate`."""

    episodes: int = 100
    """Greedy episodes at the end of training."""
    simulations: int = 0
    """Simulations per move; 0: as in self-play."""
    seed: int = 1_000_000
    """First seed of the evaluation episodes."""


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
    search: SearchConfig = field(default_factory=SearchConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    value: EncodingConfig = field(default_factory=EncodingConfig)
    reward: EncodingConfig = field(default_factory=EncodingConfig)
    learn: LearnConfig = field(default_factory=LearnConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    reanalyse: ReanalyseConfig = field(default_factory=ReanalyseConfig)
    act: ActConfig = field(default_factory=ActConfig)
    evaluate: EvaluateConfig = field(default_factory=EvaluateConfig)
