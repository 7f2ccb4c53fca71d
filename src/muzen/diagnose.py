"""Why is it not learning? Health checks as a run goes, and the learned model held against the real environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.agent import Agent
from muzen.config import Config
from muzen.envs import episode_seed
from muzen.maths.returns import lambda_return
from muzen.types import Array, Environment, Prediction, State

# A figure must stay bad for this many rows of the metrics table before it is a finding.
PATIENCE = 3
# Share of the budget before which a figure may still be settling.
SETTLING = 0.2
# Worker number in the seeds of diagnostic episodes; see `evaluate.EVALUATION_WORKER`.
DIAGNOSIS_WORKER = 2**31 - 2
# Share of resignations that may be wrong, AlphaGo Zero's; and the games from which it can be told.
MOST_FALSE_RESIGNATIONS = 0.05
FEWEST_JUDGED = 20
# Share of all reward that may lie beyond what the reward's bins cover.
MOST_REWARD_CUT = 0.01
# Share of random actions in diagnostic episodes, so that the model is also asked about what the agent avoids.
RANDOM_ACTIONS = 0.25


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong: its figure, the likely cause, and the setting to change."""

    name: str
    figure: str
    cause: str
    remedy: str

    def line(self) -> str:
        """For people."""
        return f"{self.figure}: {self.cause}; {self.remedy}"


def _checks(row: dict[str, float], config: Config) -> Iterable[Finding]:
    """Every check that this row of the metrics table fails."""
    learn, search = config.learn, config.search
    fraction = row["env_steps"] / config.env_steps
    settled = fraction > SETTLING
    get = row.get
    if get("value_saturation", 0.0) > 0.05:
        yield Finding(
            "value_saturates",
            f"{row['value_saturation']:.0%} of the value targets lie on the edge of the support",
            "returns are larger than the bins cover, so the value cannot tell good from better",
            f"raise value.limit (now {config.value.limit or 'automatic'}) "
            f"or lower learn.discount (now {learn.discount})",
        )
    cut = get("reward_cut", 0.0) if search.model == "learned" else 0.0  # the rules themselves say what they pay
    if cut > MOST_REWARD_CUT * get("reward_size", 0.0):
        yield Finding(
            "rewards_cut",
            f"{cut / row['reward_size']:.0%} of the reward lies beyond the support",
            "the model takes large rewards for smaller ones, as random steps showed none so large, or a limit was set",
            f"set reward.limit (now {config.reward.limit or 'automatic'}) to more than {row['reward_largest']:.3g}, "
            "the largest reward so far in units of a typical random step's, and raise reward.bins "
            f"(now {config.reward.bins})",
        )
    if settled and get("policy_entropy", 0.5) < 0.02 and get("target_entropy", 0.5) < 0.02:
        if search.rule == "gumbel":
            less_sure = f"lower search.c_scale (now {search.c_scale})"
        else:
            less_sure = f"raise search.c1 (now {search.c1})"
        yield Finding(
            "policy_collapsed",
            f"the policy's entropy is {row['policy_entropy']:.1%} of uniform",
            "search always confirms one action, so nothing else is tried",
            f"{less_sure} or raise search.span_floor (now {search.span_floor})",
        )
    if settled and get("policy_entropy", 0.5) > 0.99:
        yield Finding(
            "policy_uniform",
            f"the policy's entropy is {row['policy_entropy']:.1%} of uniform",
            "search sees no difference between actions: rewards are too rare or the model is not learned yet",
            f"raise search.simulations (now {search.simulations}), learn.n_step (now {learn.n_step}), "
            f"or act.random_steps (now {config.act.random_steps})",
        )
    if settled and get("value_explained", 1.0) < 0.1 and get("reward_spread", 1.0) > 0:
        yield Finding(
            "value_explains_nothing",
            f"the value explains {max(row['value_explained'], -9.99):.0%} of the variance of its targets",
            "observations may not hold what returns depend on, or learning is too slow or too fast",
            f"check the observations with `muzen check`, then change learn.learning_rate (now {learn.learning_rate}) "
            f"or raise learn.value_weight (now {learn.value_weight})",
        )
    one_is_over = get("episodes", 1.0) > 0
    if one_is_over and get("reward_spread", 1.0) == 0 and get("terminations", 1.0) == 0 and row["env_steps"] > 1000:
        yield Finding(
            "rewards_never_seen",
            f"every one of {row['env_steps']:.0f} rewards was {row.get('reward_mean', 0.0):g} "
            "and no episode ended by the task's rule",
            "the goal was never reached, so there is nothing to learn from",
            f"raise act.random_steps (now {config.act.random_steps}) and env_steps (now {config.env_steps}), "
            "or give the environment a denser reward",
        )
    if get("target_age", 0.0) > max(2000.0, 0.25 * config.env_steps):
        yield Finding(
            "replay_stale",
            f"sampled targets were made {row['target_age']:.0f} environment steps ago on average",
            "the policy learns from searches of weights long gone",
            f"raise reanalyse.positions_per_step (now {config.reanalyse.positions_per_step}) "
            f"or lower replay.max_steps (now {config.replay.max_steps})",
        )
    wrong = get("resign_false_positives", 0.0)
    if wrong > MOST_FALSE_RESIGNATIONS and get("resign_judged", 0.0) >= FEWEST_JUDGED:
        yield Finding(
            "resigns_too_early",
            f"of {row['resign_judged']:.0f} games played on, {wrong:.0%} were not lost by who would have resigned",
            "games are given up that could be saved, and so nobody learns to save them",
            f"lower act.resign_below (now {config.act.resign_below:g}), or set 0 for none",
        )
    if settled and get("clipped", 0.0) > 0.95:
        yield Finding(
            "always_clipped",
            f"{row['clipped']:.0%} of the gradients were clipped (norm {row['gradient_norm']:.3g})",
            "clipping, not the learning rate, sets the step size"
            if learn.optimizer == "sgd"
            else "a batch from which there is much to learn counts no more than any other",
            f"raise learn.clip_norm (now {learn.clip_norm}) or lower learn.learning_rate (now {learn.learning_rate})",
        )


class Health:
    """Runs every check on each row of the metrics table; speaks once when a figure has stayed bad."""

    def __init__(self, config: Config):
        self.config = config
        self._bad: dict[str, int] = {}

    def look(self, row: dict[str, float]) -> list[Finding]:
        """Findings that have now held for `PATIENCE` rows and were not told yet."""
        failing = {finding.name: finding for finding in _checks(row, self.config)}
        self._bad = {name: self._bad.get(name, 0) + 1 for name in failing}
        return [failing[name] for name, rows in self._bad.items() if rows == PATIENCE]

    def state(self) -> dict[str, int]:
        """For the checkpoint."""
        return dict(self._bad)

    def restore(self, state: dict[str, int]) -> None:
        """From the checkpoint."""
        self._bad = dict(state)


def findings(rows: Iterable[dict[str, float]], config: Config) -> list[tuple[float, Finding]]:
    """(environment step, finding) of a whole metrics table, as the run itself told them."""
    health = Health(config)
    return [(row["env_steps"], finding) for row in rows for finding in health.look(row)]


@dataclass(frozen=True)
class UnrollReport:
    """The learned model against the real environment, k steps after a real observation.

    Lists run over k = 1..K. `value_drift` compares the value of the unrolled state with the value of the
    encoded real observation; errors are mean absolute, environment units.
    """

    reward_error: list[float]
    value_drift: list[float]
    policy_agreement: list[float]  # share of equal argmax actions
    # Predicted probability of going on where the episode really terminated; NaN if none did, or ends are not learned.
    continue_at_end: list[float]
    continue_elsewhere: list[float]
    value_correlation: float  # of the root value with the discounted return that followed
    value_bias: float  # what the root value says beyond that return, on average; environment units
    followed_spread: float  # standard deviation of those returns

    def lines(self) -> list[str]:
        """A table for people."""
        head = " k  reward error  value drift  same action  P(goes on) at an end  elsewhere"
        rows = zip(
            self.reward_error,
            self.value_drift,
            self.policy_agreement,
            self.continue_at_end,
            self.continue_elsewhere,
            strict=True,
        )
        table = [
            f"{k:2d}  {r:12.4g}  {v:11.4g}  {a:11.0%}  {_chance(e):>20}  {_chance(c):>9}"
            for k, (r, v, a, e, c) in enumerate(rows, 1)
        ]
        return [
            head,
            *table,
            f"the value's correlation with the return that followed: {self.value_correlation:.2f}",
            f"the value less that return, on average: {self.value_bias:+.4g}, where returns spread by "
            f"{self.followed_spread:.4g} (standard deviation)",
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass
class RealEpisode:
    """What really happened, to hold a learned model against."""

    observation: np.ndarray  # [T+1, ...]
    action: np.ndarray  # [T]
    reward: np.ndarray  # [T] of player 0
    to_play: np.ndarray  # [T+1] int32
    terminated: bool
    states: list[Any]  # [T] of the game before each action, `TimeStep.state`; None in other environments


def _play(agent: Agent, env: Environment, seed: int, rng: np.random.Generator, limit: int) -> RealEpisode:
    """One greedy episode with some random actions."""
    now = env.reset(seed)
    observations, actions, rewards, to_play, states = [now.observation], [], [], [now.to_play], []
    while not (now.terminated or now.truncated) and len(actions) < limit:
        if rng.random() < RANDOM_ACTIONS:
            action = int(rng.choice(np.flatnonzero(now.legal)))
        else:
            action = agent.act(now.observation, now.legal, now.to_play, now.state)
        states.append(now.state)
        now = env.step(action)
        observations.append(now.observation)
        actions.append(action)
        rewards.append(float(now.reward[0]))
        to_play.append(now.to_play)
    seats = np.array(to_play, np.int32)
    acted = np.array(actions, np.int32)
    return RealEpisode(np.stack(observations), acted, np.array(rewards), seats, now.terminated, states)


def play_for_diagnosis(
    agent: Agent, make: Callable[[], Environment], *, episodes: int = 5, seed: int = 0, episode_limit: int = 500
) -> list[RealEpisode]:
    """Greedy episodes with a quarter of the actions random, so that the model is asked about what the agent avoids.

    Args:
      agent: plays.
      make: makes one environment.
      episodes: how many.
      seed: of the episodes.
      episode_limit: environment steps per episode, at most.
    """
    rng = np.random.default_rng(seed)
    with closing(make()) as env:
        seeds = (episode_seed(seed, DIAGNOSIS_WORKER, 0, i) for i in range(episodes))
        return [_play(agent, env, one, rng, episode_limit) for one in seeds]


@eqx.filter_jit
def _unroll(model: Any, observation: Array, to_play: Array, action: Array) -> list[Prediction]:
    """Predictions of the root [B, ...], where [B] move, and of K steps after it under [B, K] actions."""
    predictions = [model.initial(observation, to_play)]
    for k in range(action.shape[1]):
        predictions.append(model.recurrent(predictions[-1].state, action[:, k]))
    return predictions


def unroll_against(agent: Agent, played: list[RealEpisode], *, gamma: float, steps: int = 5) -> UnrollReport:
    """Unroll the learned model along real episodes and say how far it strays.

    Args:
      agent: whose model.
      played: the episodes.
      gamma: γ that the agent was trained with.
      steps: K, steps unrolled.
    """
    starts = [(e, t) for e in played for t in range(len(e.action))]
    width = len(starts)
    action = np.zeros((width, steps), np.int32)
    for i, (e, t) in enumerate(starts):
        here = e.action[t : t + steps]
        action[i, : len(here)] = here
    roots, movers = np.stack([e.observation[t] for e, t in starts]), np.array([e.to_play[t] for e, t in starts])
    unrolled = [jax.tree.map(np.asarray, p) for p in _unroll(agent.model, roots, movers, action)]
    lists: dict[str, list[float]] = {name: [] for name in ("reward", "value", "policy", "end", "on")}
    for k in range(1, steps + 1):
        inside = np.array([t + k <= len(e.action) for e, t in starts])
        real = np.stack([e.observation[min(t + k, len(e.action))] for e, t in starts])
        movers = np.array([e.to_play[min(t + k, len(e.action))] for e, t in starts])
        encoded = _unroll(agent.model, real, movers, np.zeros((width, 0), np.int32))[0]
        reward = np.array([e.reward[min(t + k, len(e.action)) - 1] for e, t in starts])
        end = np.array([e.terminated and t + k == len(e.action) for e, t in starts])
        said = unrolled[k]
        # Where ends are not learned, γ says nothing of them.
        goes_on = said.discount / gamma if getattr(agent.model, "learns_discount", True) else np.full(width, np.nan)
        on = inside & ~end
        lists["reward"].append(_mean(np.abs(said.reward[:, 0] - reward), inside))
        lists["value"].append(_mean(np.abs(said.value[:, 0] - np.asarray(encoded.value)[:, 0]), on))
        same = said.policy_logits.argmax(-1) == np.asarray(encoded.policy_logits).argmax(-1)
        lists["policy"].append(_mean(same, on))
        lists["end"].append(_mean(goes_on, end))
        lists["on"].append(_mean(goes_on, on))
    last = np.stack([e.observation[len(e.action)] for e in played])
    movers = np.array([e.to_play[len(e.action)] for e in played])
    rest = np.asarray(_unroll(agent.model, last, movers, np.zeros((len(played), 0), np.int32))[0].value)[:, 0]
    followed = np.concatenate(
        [_return_that_followed(e.reward, gamma, 0.0 if e.terminated else rest[i]) for i, e in enumerate(played)]
    )
    value = unrolled[0].value[:, 0]
    varies = value.std() > 0 and followed.std() > 0
    correlation = float(np.corrcoef(value, followed)[0, 1]) if varies else 0.0
    return UnrollReport(
        lists["reward"],
        lists["value"],
        lists["policy"],
        lists["end"],
        lists["on"],
        correlation,
        float((value - followed).mean()),
        float(followed.std()),
    )


def _chance(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.2f}"


@dataclass(frozen=True)
class WinReport:
    """Moves that win at once, by the rules, and what the learned model knows of them, k moves after a real position.

    Lists run over k = 1..K: the k-th move wins. A share of none is NaN.
    """

    wins: list[int]  # such moves
    seen: list[float]  # share of them for which the model predicts more than half of what they pay
    imagined: list[float]  # share of the other moves for which it predicts more than half of what a win pays
    policy: list[float]  # mean probability that the policy gives to the winning moves, where there are any

    def lines(self) -> list[str]:
        """A table for people."""
        rows = zip(self.wins, self.seen, self.imagined, self.policy, strict=True)
        return [
            " k  winning moves  seen by the model  others taken for wins  policy on them",
            *(
                f"{k:2d}  {n:13d}  {_share(s):>17}  {_share(i):>21}  {_share(p):>14}"
                for k, (n, s, i, p) in enumerate(rows, 1)
            ),
        ]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@eqx.filter_jit
def _after(model: Any, state: State, line: Array, action: Array) -> Prediction:
    """Predictions of what follows [M] actions in the states that `line` [M] points to."""
    return model.recurrent(jax.tree.map(lambda x: jnp.asarray(x)[line], state), action)


def wins_at_hand(
    agent: Agent, states: Sequence[Any], *, depth: int = 3, seed: int = 0, most_moves: int = 4096
) -> WinReport:
    """Ask the learned model of a game about every move, and hold its rewards against the rules.

    A model that does not see a win loses to a player who does: search looks where policy and reward point.

    Args:
      agent: whose model; of a game for two or more players, without chance.
      states: the game's own states, none of them over.
      depth: K, moves after which a win is still looked for; those before it are any legal ones that end nothing.
      seed: draws the moves where there are too many.
      most_moves: moves judged for each k, at most.
    """
    rng, rules, model = np.random.default_rng(seed), agent.simulator, agent.model
    here = rules.look(states)
    said = _unroll(model, here.observation, here.to_play, np.zeros((len(states), 0), np.int32))[0]
    lists: dict[str, list] = {name: [] for name in ("wins", "seen", "imagined", "policy")}
    for _ in range(depth):
        line, move = np.nonzero(here.legal & ~here.terminated[:, None])
        if len(line) > most_moves:
            chosen = np.sort(rng.choice(len(line), most_moves, replace=False))
            line, move = line[chosen], move[chosen]
        if len(line) == 0:  # every game is over
            for name, nothing in (("wins", 0), ("seen", np.nan), ("imagined", np.nan), ("policy", np.nan)):
                lists[name].append(nothing)
            continue
        each, mover = np.arange(len(line)), here.to_play[line]
        after = rules.step(here.state[line], move)
        paid = after.reward[each, mover]
        wins = after.terminated & (paid > 0)
        logits = np.where(here.legal, np.asarray(said.policy_logits), -np.inf)
        policy = np.asarray(jax.nn.softmax(logits))[line, move]
        said = _after(model, said.state, line, move.astype(np.int32))
        told = np.asarray(said.reward)[each, mover]
        won_at = np.unique(line[wins])
        lists["wins"].append(int(wins.sum()))
        lists["seen"].append(_mean(told > paid / 2, wins))
        lists["imagined"].append(_mean(told > paid.max(initial=0.0) / 2, ~wins) if wins.any() else float("nan"))
        lists["policy"].append(float(policy[wins].sum() / len(won_at)) if len(won_at) else float("nan"))
        here = after
    return WinReport(**lists)


def _share(x: float) -> str:
    return "-" if np.isnan(x) else f"{x:.1%}"


def _mean(x: np.ndarray, where: np.ndarray) -> float:
    return float(x[where].mean()) if where.any() else float("nan")


def _return_that_followed(reward: np.ndarray, gamma: float, rest: float) -> np.ndarray:
    """[T] discounted sum of what follows each step, with `rest` for what the last observation is worth."""
    column, bootstrap = reward[None, :, None], np.zeros((1, len(reward), 1))
    bootstrap[0, -1] = rest
    return lambda_return(column, np.full((1, len(reward)), gamma), bootstrap, lam=1.0)[0, :, 0]
