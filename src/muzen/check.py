"""What is wrong with an environment, in words, and what Muzen would use for it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

import gymnasium
import numpy as np

from muzen.config import Config, EncodingConfig
from muzen.envs import EnvLike, GymnasiumEnvironment, OpenSpielEnvironment, env_name, open_env, past_actions_refused
from muzen.envs.gymnasium import supported_action_space, supported_observation_space
from muzen.envs.trial import Trial, failure_of, first_difference, play_randomly, trajectory
from muzen.errors import UnsupportedSpaceError
from muzen.networks import is_convolutional
from muzen.presets import has_preset, preset
from muzen.types import Environment, EnvSpec

Severity = Literal["ok", "warning", "error"]

# Slower than this, the environment and not learning sets the pace.
SLOW_STEPS_PER_S = 500
# Rewards beyond this are more often a unit forgotten than a task's wish.
LARGE_REWARD = 1e4
# Environment steps of the trajectories that are compared with each other.
_COMPARED_STEPS = 50


@dataclass(frozen=True)
class Finding:
    """One thing looked at: an error keeps Muzen from learning or evaluating, a warning does not."""

    severity: Severity
    name: str
    text: str
    way_out: str = ""

    def line(self) -> str:
        """For people."""
        return f"{self.severity:7}  {self.name:12}  {self.text}" + (f". {self.way_out}" if self.way_out else "")


@dataclass(frozen=True)
class Report:
    """What `check` found.

    Attributes:
      env_id: the environment.
      findings: everything that was looked at, in order.
      uses: what Muzen would use for it, a line each; empty where it cannot be used.
    """

    env_id: str
    findings: tuple[Finding, ...]
    uses: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there is no error; there may be warnings."""
        return not any(finding.severity == "error" for finding in self.findings)

    def lines(self) -> list[str]:
        """For people."""
        count = {kind: sum(finding.severity == kind for finding in self.findings) for kind in ("error", "warning")}
        plural = {kind: f"{n} {kind}{'' if n == 1 else 's'}" for kind, n in count.items()}
        verdict = "Muzen can learn it" if self.ok else "mend the errors first"
        uses = ["", "Muzen would use:", *(f"  {line}" for line in self.uses)] if self.uses else []
        return [
            f"{self.env_id}: {plural['error']}, {plural['warning']}; {verdict}",
            "",
            *(finding.line() for finding in self.findings),
            *uses,
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.lines())

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "ok": self.ok}

    def json(self) -> str:
        """One JSON object with `env_id`, `ok`, `findings` and `uses`."""
        return json.dumps(self.as_dict())


def check(
    env: EnvLike, config: Config | None = None, *, steps: int = 3000, seconds: float = 20.0, seed: int = 0
) -> Report:
    """Plays at random and looks for what keeps an agent from learning.

    Args:
      env: as `muzen.envs.make` takes it.
      config: the settings to say more about; the preset for this environment if left out.
      steps: environment steps of random play.
      seconds: wall-clock of random play, at most.
      seed: of the play.

    Raises:
      UnknownEnvError, EnvError: there is no such environment, or it cannot be made.
    """
    name = env_name(env)
    made = open_env(env)
    if not isinstance(made, gymnasium.Env):
        try:
            return _protocol_report(env, made, name, config, steps=steps, seconds=seconds, seed=seed)
        finally:
            made.close()
    try:
        findings = _space_findings(made, name)
        if any(finding.severity == "error" for finding in findings):
            return Report(name, tuple(findings))
        trial = play_randomly(made, name, steps=steps, seconds=seconds, seed=seed)
        if trial.failure:
            way_out = "" if trial.failure.startswith(name) else "Random legal actions must not break an environment"
            findings.append(Finding("error", "interface", trial.failure.removeprefix(f"{name}: "), way_out))
            return Report(name, tuple(findings))
        spec = GymnasiumEnvironment(made, name).spec
        settings = config or preset(name, spec)
        findings.append(Finding("ok", "interface", f"{trial.steps:,} random steps without a fault"))
        findings += _observation_findings(made, trial)
        findings += _reward_findings(trial, spec, settings)
        findings += _episode_findings(trial, spec, settings)
        findings += _seeding_findings(env, made, name, seed)
        findings += _other_findings(made, trial, spec, settings)
        return Report(name, tuple(findings), _uses(spec, config))
    finally:
        made.close()


def _protocol_report(
    env: EnvLike, made: Environment, name: str, config: Config | None, *, steps: int, seconds: float, seed: int
) -> Report:
    """Of a game, or whatever else follows Muzen's own protocol."""
    spec = made.spec
    trial = play_randomly(made, name, steps=steps, seconds=seconds, seed=seed)
    if trial.failure:
        finding = Finding("error", "interface", trial.failure, "Random legal actions must not break an environment")
        return Report(name, (finding,))
    settings = config or preset(name, spec)
    findings = [Finding("ok", "interface", f"{trial.steps:,} random moves without a fault")]
    if spec.players > 1:
        turns = "in turn" if spec.alternating else "not strictly in turn: who moves next is learned"
        values = "one's gain is the other's loss" if spec.zero_sum and spec.players == 2 else "a value for each player"
        findings.append(Finding("ok", "players", f"{spec.players}, {turns}; {values}"))
        findings.append(_outcome_finding(trial))
    else:
        findings += _reward_findings(trial, spec, settings)
    findings += _episode_findings(trial, spec, settings)
    findings += _seeding_findings(env, made, name, seed)
    if symmetries := len(getattr(made, "symmetries", ())):
        findings.append(Finding("ok", "symmetry", f"{symmetries} views of the board keep the rules (learn.augment)"))
    findings += _common_findings(trial, spec, settings)
    if refusal := past_actions_refused(spec, settings.network.past_actions):
        return Report(name, (*findings, Finding("error", "settings", refusal)))
    return Report(name, tuple(findings), _uses(spec, config))


def _outcome_finding(trial: Trial) -> Finding:
    if not trial.outcomes:
        return Finding("warning", "outcomes", "no game ended", "Choose parameters that make the game shorter")
    mean = np.array(trial.outcomes).mean(0)
    each = ", ".join(f"{x:.2f}" for x in mean)
    text = f"mean returns by player over {len(trial.outcomes):,} random games: {each}"
    if not np.any(trial.outcomes):
        return Finding("warning", "outcomes", text, "Random play always draws: learning begins when somebody wins")
    return Finding("ok", "outcomes", text)


def _space_findings(env: gymnasium.Env, name: str) -> list[Finding]:
    findings = []
    for kind, supported in (("actions", supported_action_space), ("observations", supported_observation_space)):
        try:
            space = supported(env, name)
        except UnsupportedSpaceError as error:
            findings.append(Finding("error", kind, str(error).removeprefix(f"{name}: ")))
            continue
        text = str(space).replace("\n", " ")
        if isinstance(space, gymnasium.spaces.Box):
            text = f"Box of shape {space.shape}, {space.dtype}"
        elif space.start:
            text = f"{space.n} from {space.start} to {space.start + space.n - 1}; Muzen counts them from 0"
        findings.append(Finding("ok", kind, text))
    return findings


def _observation_findings(env: gymnasium.Env, trial: Trial) -> list[Finding]:
    findings = []
    if trial.outside:
        way_out = "Muzen does not rely on the bounds, but others do: widen them or clip"
        findings.append(Finding("warning", "bounds", f"observation {trial.outside}, its space", way_out))
    if trial.dtypes:
        text = f"observations are {', '.join(sorted(trial.dtypes))} but their space says {env.observation_space.dtype}"
        findings.append(Finding("warning", "dtype", text, "Muzen casts to float32: cast earlier, or declare it"))
    if trial.rewritten:
        text = "an observation changed after it was returned: step() writes into the same array again"
        way_out = "Muzen copies, other programs may not: return array.copy()"
        findings.append(Finding("warning", "aliasing", text, way_out))
    if isinstance(env.observation_space, gymnasium.spaces.Discrete):
        seen = len({int(observation.argmax()) for observation in trial.observations})
        return [*findings, Finding("ok", "range", f"random play saw {seen} of {env.observation_space.n} states")]
    seen = np.stack(trial.observations)
    low, high = seen.min(0), seen.max(0)
    still = int((low == high).sum())
    text = f"observations lay between {low.min():.3g} and {high.max():.3g}"
    if len(seen) > 1 and still == len(low):
        text += ", and never changed"
        findings.append(Finding("warning", "range", text, "An observation that says nothing teaches nothing"))
    else:
        text += f"; {still} of {len(low)} numbers never changed" if still else ""
        findings.append(Finding("ok", "range", text))
    return findings


def _reward_findings(trial: Trial, spec: EnvSpec, config: Config) -> list[Finding]:
    rewards = np.array(trial.rewards)
    nonzero = rewards[rewards != 0]
    if not len(nonzero):
        text = f"all of {len(rewards):,} rewards were 0"
        return [Finding("warning", "rewards", text, "Learning begins when one is met: allow more env_steps, or a hint")]
    text = (
        f"from {rewards.min():.4g} to {rewards.max():.4g}; {len(nonzero):,} of {len(rewards):,} are not 0, "
        f"and {nonzero.mean():.4g} on average"
    )
    largest = float(np.abs(rewards).max())
    if rewards.min() == rewards.max() and not any(trial.terminated):
        text = f"every one of {len(rewards):,} rewards was {rewards[0]:.4g} and no episode terminated"
        way_out = "Random play never meets the goal: allow more env_steps, or give a hint"
        return [Finding("warning", "rewards", text, way_out)]
    if largest > LARGE_REWARD:
        way_out = "Bins are scaled to it, but divide by a constant so that one step is worth about 1"
        return [Finding("warning", "rewards", text, way_out)]
    unit = spec.largest_return or float(np.sqrt(np.mean(rewards**2)))
    covered = config.reward.limit * unit
    if 0 < covered < largest:
        way_out = (
            f"reward.limit {config.reward.limit:g} of a unit of {unit:.4g} is {covered:.4g}, "
            f"which is smaller: set at least {largest / unit:.3g}, or 0 for automatic"
        )
        return [Finding("warning", "rewards", text, way_out)]
    return [Finding("ok", "rewards", text)]


def _cut(config: Config, way_out: str) -> str:
    return f"Evaluations cut episodes off after {config.evaluate.max_steps:,} steps (evaluate.max_steps). {way_out}"


def _episode_findings(trial: Trial, spec: EnvSpec, config: Config) -> list[Finding]:
    findings = []
    wrap = "Register it with max_episode_steps, or wrap it in gymnasium.wrappers.TimeLimit"
    limit = f"time limit {spec.max_episode_steps:,} steps" if spec.max_episode_steps else "no time limit"
    if trial.flags:
        text = f"terminated and truncated come as {', '.join(sorted(trial.flags))}"
        findings.append(Finding("warning", "flags", text, "Muzen casts them: return bool"))
    if not trial.lengths:
        text = f"none ended in {trial.unfinished:,} steps; {limit}"
        if spec.max_episode_steps is None:
            findings.append(Finding("warning", "episodes", text, _cut(config, wrap)))
        else:
            findings.append(Finding("ok", "episodes", text))
        return findings
    lengths, ends = np.array(trial.lengths), np.array(trial.terminated)
    text = (
        f"{len(lengths)} finished, {lengths.min()} to {lengths.max()} steps long: {ends.sum()} terminated, "
        f"{(~ends).sum()} truncated; {limit}"
    )
    if len(lengths) >= 3 and len(set(trial.lengths)) == 1 and ends.all() and lengths[0] > 1:
        way_out = "If that is a time limit, return truncated=True there: termination teaches that nothing follows"
        findings.append(Finding("warning", "episodes", text, way_out))
    elif lengths.max() == 1:
        way_out = "There is nothing to plan: reset() may put the episode where it ends at once"
        findings.append(Finding("warning", "episodes", text, way_out))
    elif spec.max_episode_steps is None:
        way_out = _cut(config, wrap)
        findings.append(Finding("warning", "episodes", text, way_out))
    else:
        findings.append(Finding("ok", "episodes", text))
    return findings


def _adapted(env: Any, name: str) -> Environment:
    return GymnasiumEnvironment(env, name) if isinstance(env, gymnasium.Env) else env


def _seeding_findings(env: EnvLike, made: Any, name: str, seed: int) -> list[Finding]:
    findings: list[Finding] = []
    way_out = "Draw every random number from self.np_random, and call super().reset(seed=seed) first in reset()"

    def compare() -> None:
        adapted = _adapted(made, name)
        first = trajectory(adapted, seed, _COMPARED_STEPS)
        again = first_difference(first, trajectory(adapted, seed, _COMPARED_STEPS))
        fresh = _adapted(open_env(env), name)
        try:
            other = first_difference(first, trajectory(fresh, seed, _COMPARED_STEPS))
        finally:
            fresh.close()
        step = other if again is None else again
        where = f"after {step} steps" if step else "at the start"
        if again is not None:
            text = f"one seed gave two trajectories, different {where}: runs cannot be repeated or resumed to the bit"
            findings.append(Finding("warning", "seeding", text, way_out))
        elif other is not None:
            text = f"a new instance with the same seed differs {where}: something outlives reset()"
            findings.append(Finding("warning", "seeding", text, way_out))
        elif all(first_difference(first, trajectory(adapted, seed + i, _COMPARED_STEPS)) is None for i in range(1, 6)):
            text = "six seeds gave one and the same trajectory"
            if isinstance(adapted, OpenSpielEnvironment) and not adapted.spec.chance:
                findings.append(Finding("ok", "seeding", "a game without chance: the same moves are the same game"))
                return
            findings.append(
                Finding("warning", "seeding", text, f"If chance plays a part, {way_out[0].lower()}{way_out[1:]}")
            )
        else:
            findings.append(Finding("ok", "seeding", "the same seed repeats, another differs"))

    failure = failure_of(compare)
    if failure:
        findings.append(
            Finding("error", "seeding", failure.removeprefix(f"{name}: "), "A second instance must work too")
        )
    return findings


def _common_findings(trial: Trial, spec: EnvSpec, config: Config) -> list[Finding]:
    findings = []
    if not spec.always_legal:
        findings.append(Finding("ok", "legal", f"a mask leaves {trial.legal_share:.0%} of the actions on average"))
    speed = trial.steps / max(trial.step_seconds, 1e-9)
    text = f"{speed:,.0f} steps/s; {config.env_steps:,} steps take {config.env_steps / speed:,.0f} s in the environment"
    if speed < SLOW_STEPS_PER_S:
        findings.append(Finding("warning", "speed", text, "It will set the pace of training"))
    else:
        findings.append(Finding("ok", "speed", text))
    return findings


def _other_findings(env: gymnasium.Env, trial: Trial, spec: EnvSpec, config: Config) -> list[Finding]:
    findings = _common_findings(trial, spec, config)
    modes = (env.metadata or {}).get("render_modes") or []
    text = "muzen record films it" if "rgb_array" in modes else "no rgb_array mode: muzen record shows numbers"
    findings.append(Finding("ok", "rendering", text))
    return findings


def _uses(spec: EnvSpec, config: Config | None) -> tuple[str, ...]:
    settings = config or preset(spec.id, spec)
    if config is not None:
        source = "the settings given"
    else:
        source = f"the preset {spec.id}" if has_preset(spec.id) else "defaults, adapted to its spaces"
    network, learn, search = settings.network, settings.learn, settings.search
    shape = f"{int(np.prod(spec.observation_shape))} numbers"
    if len(spec.observation_shape) == 3:
        shape = "{} planes of {} x {}".format(*spec.observation_shape)
    convolutions, mlp = f"convolutions, {network.channels} channels", f"MLP, width {network.width}"
    kind = convolutions if is_convolutional(network, spec.observation_shape) else mlp
    seen = "one-hot" if spec.discrete_observation else "normalised" if network.normalise_observations else "as they are"
    if (past := network.past_actions) > 0:
        seen += f"; beside them the last {f'{past} actions' if past > 1 else 'action'}, one-hot"
    return (
        f"settings      {source}; {settings.env_steps:,} environment steps",
        f"observation   {shape}, {seen}",
        f"network       {kind}, {network.blocks} residual block{'s' * (network.blocks != 1)}",
        f"value         {_encoding(settings.value, spec)}",
        f"reward        {_encoding(settings.reward, spec)}",
        f"search        {search.rule}, {search.simulations} simulations over {spec.num_actions} actions",
        f"targets       discount {learn.discount:g}, {learn.n_step}-step returns, {learn.unroll_steps} steps unrolled",
    )


def _encoding(config: EncodingConfig, spec: EnvSpec) -> str:
    measured = "range set from the rewards seen" if spec.largest_return is None else "range set by the game"
    limit = f"up to {config.limit:g} units" if config.limit else measured
    transform = "paper's transform" if config.transform else "no transform"
    return f"{config.bins} bins, {config.coding}, {transform}, {limit}"
