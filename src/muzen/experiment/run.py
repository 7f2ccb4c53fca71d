"""The loop of a run, in the order of the reader's path: environments -> rollout -> search -> replay -> reanalyse ->
learner -> weights -> rollout. Acting and learning keep a fixed number of sampled sequences per environment step, and
take turns or overlap; one seed gives one result.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzen import devices, profile
from muzen.actors import Plan, Rollout
from muzen.agent import Agent
from muzen.caches import use_compilation_cache
from muzen.callbacks import Callback, listening
from muzen.config import Config, LearnConfig
from muzen.diagnose import Health
from muzen.errors import NonFiniteLossError
from muzen.evaluate import evaluate
from muzen.experiment.keeping import begin_warm, keep_weights, restore, save
from muzen.experiment.parts import Units, learning, make_agent, make_model, make_planner, require_resignation
from muzen.learner import LearnerState, Report, Scale, blank, init_learner, make_learn, sample
from muzen.machine import quoted
from muzen.maths.schedules import visit_temperature
from muzen.maths.supports import limit_and_scale
from muzen.networks import NetworkModel, Normaliser
from muzen.opponents import opponents
from muzen.optimizer import make_optimizer
from muzen.reanalyse import Reanalyse
from muzen.replay import Batch, Replay, augment
from muzen.runs import Metrics, RunFolder
from muzen.search.tree import Tree
from muzen.types import Environment

# Gradient steps in one XLA call, at most: longer calls save dispatch, shorter ones keep the weights fresh.
UPDATES_PER_CALL = 8
# Environment steps between rows of the metrics table.
REPORT_STEPS = 500
# Weight of the newest batches in the running spread of value targets.
SPREAD_RATE = 0.1
# The same in the running share of the value targets' variance that the value explains.
EXPLAINED_RATE = 0.1
# Value targets that spread over less than this share of the least spread tell nothing apart.
LEAST_TOLD = 1e-3
# Scale of the noise of moves that are not sampled: enough to keep a rule's root noise on, too little to choose by.
GREEDY = 1e-4
# Episodes in the running mean of returns.
RECENT_EPISODES = 20
# Games played on in which a player would have resigned, in the running rate of those that it did not lose.
JUDGED_GAMES = 100


def updates_per_call(environments: int, learn: LearnConfig) -> int:
    """Gradient steps in one XLA call: what a turn of so many environments asks for, up to `UPDATES_PER_CALL`."""
    return int(np.clip(round(environments * learn.samples_per_step / learn.batch_size), 1, UPDATES_PER_CALL))


class Experiment:
    """One run in progress.

    Args:
      config: every setting.
      folder: the run folder, made by the time that `run` is called.
      make_env: makes one environment.
      network, value_encoding, reward_encoding: the user's own, or None.
      callbacks: told what happens.
    """

    def __init__(
        self,
        config: Config,
        folder: RunFolder,
        make_env: Callable[[], Environment],
        *,
        network: Any = None,
        value_encoding: Any = None,
        reward_encoding: Any = None,
        callbacks: Iterable[Callback] = (),
    ):
        self.clock = profile.Clock()
        use_compilation_cache()
        self.mesh = devices.mesh_of(config.devices)
        self.config, self.folder, self.make_env = config, folder, make_env
        self.callbacks = listening(callbacks)
        self.rollout = Rollout(
            make_env,
            config.act.environments,
            config.seed,
            random_openings=config.act.random_openings,
            opening_moves=config.act.opening_moves,
            resign_below=config.act.resign_below,
            resign_never=config.act.resign_never,
        )
        self.spec = self.rollout.spec
        require_resignation(config.act, self.spec, config.learn.bootstrap)
        self.symmetries = getattr(self.rollout.envs[0], "symmetries", ())
        self.opponents = opponents(config.evaluate.opponents, config.env_id)
        self.planner = make_planner(config.search, self.spec, config.search.simulations, mesh=self.mesh)
        self.replay = Replay(self.spec, config.replay, config.act.environments, config.seed)
        again = config.reanalyse
        self.reanalyse = Reanalyse(
            self.replay, again.positions_per_step, again.batch_size, self.planner.simulator, again.values_per_step
        )
        self.learning = learn = learning(config)
        planned = max(config.env_steps - config.act.random_steps, 1) * learn.samples_per_step / learn.batch_size
        self.total_updates = int(min(planned, 2**31 - 1))
        optimizer = make_optimizer(learn)
        model = make_model(config, self.spec, network, value_encoding, reward_encoding)
        self.learner = devices.everywhere(init_learner(model, optimizer), self.mesh)
        self._learn = make_learn(learn, optimizer, self.total_updates, self.mesh)
        self.updates_per_call = updates_per_call(config.act.environments, learn)
        act = config.act
        self.value_spread = self.least_spread = self.value_explained = 0.0
        self.normaliser = Normaliser(self.spec.observation_shape)
        self.health = Health(config)
        self.metrics = Metrics(folder.path)
        self.rng = np.random.default_rng([config.seed, 2])
        self.drawn = np.zeros(act.environments, np.int32)
        # [E] true in a spell of fresh noise of the environment's own scale, false in one of weak, held noise.
        self.noisy = (np.arange(act.environments) % 2 == 0) | (act.noise_steps == 0)
        self.key = jax.random.key(config.seed)
        self.env_steps = self.turn = self.updates = self.episodes = 0
        self.terminations = 0  # episodes that ended by the task's own rule
        self.owed_updates = 0.0
        self.seconds = 0.0
        self.started = False
        self.warm = False  # begun with the weights of another run, and in its units
        self.reward_low, self.reward_high, self.reward_square = math.inf, -math.inf, 0.0
        self.reward_limit, self.reward_scale = math.inf, 1.0  # of the reward encoding, `limit_and_scale`
        self.recent: deque[float] = deque(maxlen=RECENT_EPISODES)
        self.wrongly_resigned: deque[float] = deque(maxlen=JUDGED_GAMES)
        self.tree: Tree | None = None  # of the last acting search, where trees are reused
        self.window: dict[str, list[float]] = {}
        self.next_report = REPORT_STEPS
        self.next_checkpoint = config.checkpoint_minutes * 60
        self._stop: str | None = None
        self._signalled = False
        self._began = time.monotonic()

    # --- one turn -----------------------------------------------------------------------------------------

    @property
    def finished(self) -> bool:
        """True once a budget is spent."""
        over_time = self.config.minutes > 0 and self.elapsed() >= self.config.minutes * 60
        return self.env_steps >= self.config.env_steps or over_time

    def elapsed(self) -> float:
        """Seconds of training so far, earlier sittings included."""
        return self.seconds + time.monotonic() - self._began

    def stop(self, reason: str = "a callback asked for it") -> None:
        """Checkpoint and leave after the present turn."""
        self._stop = reason

    def _plan(
        self,
        key: Any,
        observation: Any,
        legal: Any,
        to_play: Any,
        states: Any,
        *,
        explore: Any = False,
        previous: Tree | None = None,
    ) -> Plan:
        fraction = min(1.0, self.env_steps / self.config.env_steps)
        search = self.config.search
        return self.planner.plan(
            self.learner.average,
            observation,
            legal,
            to_play,
            key,
            states=states,
            previous=previous,
            explore=explore,
            temperature=visit_temperature(fraction, search.temperature, search.temperature_end),
            span_floor=self.span_floor(),
        )

    def _fresh_plan(self, observation: Any, legal: Any, to_play: Any, states: Any) -> Plan:
        """Reanalysis: what the latest weights make of stored positions, without noise."""
        key = jax.random.fold_in(jax.random.fold_in(self.key, 4), self.turn)
        return self._plan(key, observation, legal, to_play, states)

    def _judge(self, observation: Any, to_play: Any) -> np.ndarray:
        """Reanalysis: what the latest weights say stored positions are worth, without a search."""
        return self.planner.judge(self.learner.average, observation, to_play)

    def blindness(self) -> float:
        """1 while the value explains nothing of the returns, 0 once it explains all of their variance."""
        return 1.0 - min(max(self.value_explained, 0.0), 1.0)

    def span_floor(self) -> float:
        """Smallest interval that Q is rescaled by: all that values spread over while blind, then the share set.

        While the value explains nothing, what it says of one action against another is noise, and would become policy.
        """
        share = self.config.search.span_floor
        return self.value_spread * (share ** (1.0 - self.blindness()) if share > 0 else 0.0)

    def exploration(self) -> np.ndarray:
        """[E] scale of the noise that each environment's actions are sampled with.

        With `act.noise_steps` strong noise comes in spells. Noise that never ends keeps experience in states that no
        policy would stay in, such as a lander's on the ground with its engines on, and the value learns what those are
        worth under noise.
        """
        act, blindness = self.config.act, self.blindness()
        sighted = np.geomspace(act.temperature, act.temperature_last, act.environments)
        sighted = np.where(self.noisy, sighted, act.temperature)
        return (sighted ** (1 - blindness) * act.blind_temperature**blindness).astype(np.float32)

    def _begin_or_end_spells(self) -> None:
        steps = self.config.act.noise_steps
        if steps > 0:
            self.noisy = self.noisy ^ (self.rng.random(len(self.noisy)) < 1 / steps)

    def _noise_keys(self) -> jax.Array:
        """[E] keys of the exploration noise: an environment keeps its key, and so its noise, for a while.

        Noise that lasts pushes one way, which swings up what fresh noise at every step only shakes. Where the value
        tells good actions from bad, it would only get in their way; but where several are worth the same, weak noise
        that lasts keeps to one of them, and so finds what pays only after many of a kind.
        """
        act, blindness = self.config.act, self.blindness()
        sighted = np.where(self.noisy, 1.0, max(act.noise_steps, 1.0))
        hold = sighted ** (1 - blindness) * act.blind_hold_steps**blindness
        self.drawn = np.where(self.rng.random(len(self.drawn)) < 1 / hold, np.int32(self.turn), self.drawn)
        return _keys(self.key, self.drawn)

    def _act_plan(self) -> Plan:
        self._begin_or_end_spells()
        now, explore, sampled = self.rollout, self.exploration(), self.config.act.sample_moves
        if sampled:
            explore = np.where(now.moves < sampled, explore, GREEDY).astype(np.float32)
        keys, tree = self._noise_keys(), self.tree
        return self._plan(keys, now.observation, now.legal, now.to_play, now.states, explore=explore, previous=tree)

    def network_share(self) -> float:
        """Part of the acting search's time that its network takes, measured now; changes nothing in the run."""
        now = self.rollout
        key, explore = jax.random.split(self.key, len(now)), self.exploration()
        search = partial(self._plan, key, now.observation, now.legal, now.to_play, now.states, explore=explore)
        return profile.network_share(search, self.planner.network_alone(self.learner.average, now.observation))

    def act(self) -> int:
        """One decision in every environment; returns the environment steps taken."""
        rollout = self.rollout
        with self.clock(profile.SEARCH):
            plan = self._act_plan()
        self.tree = plan.tree
        if self.env_steps < self.config.act.random_steps and not self.warm:
            noise = self.rng.random(plan.policy.shape)
            action = np.where(rollout.legal, noise, -1.0).argmax(axis=1).astype(np.int32)
            plan = plan._replace(action=action)
        with self.clock(profile.ENVIRONMENT):
            rows, steps, ended = rollout.step(plan, resign=self.started)
        with self.clock(profile.STORING):
            self.replay.add(np.arange(len(rollout)), rows)
            if self.config.network.normalise_observations:
                self.normaliser.add(rows.observation)
        self.env_steps += steps
        for episode in ended:
            self.episodes += 1
            if self.spec.players == 1:
                self.recent.append(float(episode.episode_return[0]))
            for player, total in enumerate(episode.episode_return):
                # Of self-play it says who won, not how well they play.
                name = "episode_return" if self.spec.players == 1 else f"self_play_return_{player}"
                self._note(name, float(total))
            self._note("episode_length", float(episode.length))
            if self.config.act.resign_below < 0:
                self._note("resigned", float(episode.resigned))
            if episode.hopeless >= 0:
                self.wrongly_resigned.append(float(episode.episode_return[episode.hopeless] >= 0))
        self._note("search_value", float(plan.value[:, 0].mean()))
        self.terminations += int((rows.terminated & ~rows.final).sum())
        if steps:
            self._note("reward_mean", float(rows.reward[~rows.final, 0].mean()))
        if self.started:
            size = np.abs(rows.reward[~rows.final].astype(np.float64)) / self.reward_scale
            self._note("reward_size", float(size.sum()))
            self._note("reward_cut", float(np.maximum(size - self.reward_limit, 0.0).sum()))
        self.reward_square += float((rows.reward[~rows.final, 0].astype(np.float64) ** 2).sum())
        self.reward_low = min(self.reward_low, float(rows.reward.min(where=~rows.final[:, None], initial=np.inf)))
        self.reward_high = max(self.reward_high, float(rows.reward.max(where=~rows.final[:, None], initial=-np.inf)))
        return steps

    def _measures(self, steps: int) -> bool:
        """Whether a point of the learning curve fell into the last `steps` environment steps."""
        points, now = self.config.evaluate.curve_points, self.env_steps
        if self.spec.players == 1 or not self.started:
            return False
        return now * points // self.config.env_steps > (now - steps) * points // self.config.env_steps

    def measure(self) -> None:
        """A point of a learning curve: greedy play against fixed opponents, for self-play only tells who won."""
        config, agent = self.config.evaluate, self.agent()
        for opponent in self.opponents:
            found = evaluate(agent, self.make_env, episodes=config.curve_games, seed=config.seed, opponent=opponent)
            self._note(f"return_against_{opponent.name}", found["mean_return"])
            if opponent is self.opponents[0]:
                self.recent.clear()
                self.recent.append(found["mean_return"])
        keep_weights(self)

    def begin_learning(self) -> None:
        """Set the supports from what the random steps showed; the network's units are fixed from here on.

        Weights of another run mean something in the units of that run only, and keep them.
        """
        if not self.warm:
            rms_reward = math.sqrt(self.reward_square / self.env_steps)
            lasting = self.replay.largest_lasting_reward()
            units = Units.of(self.config, self.spec, rms_reward, lasting, self.replay.statistics, self.terminations)
            self.least_spread = units.least_spread
            self.each_model(units.into)
        self.know_reward_units()
        self.started = True

    def know_reward_units(self) -> None:
        """Keep what the reward encoding covers at hand: asking its arrays each turn would wait for the learner."""
        self.reward_limit, self.reward_scale = limit_and_scale(self.learner.model.reward_encoding)

    def owe(self, steps: int) -> None:
        """`steps` more environment steps want their gradient steps."""
        self.owed_updates += steps * self.learning.samples_per_step / self.learning.batch_size

    def learn(self) -> None:
        """Take the gradient steps that are owed, as many whole calls as there are."""
        for batches in self._owed_batches():
            with self.clock(profile.LEARNING):
                self.learner, reports = self._updates(self.learner, [batches], self._scale())
                self._take_in(batches, reports[0])

    def _compile(self, learner: ThreadPoolExecutor) -> Future[None]:
        """Compile the gradient step in the learner's thread, while the first environment steps are taken."""
        batches = blank(self.replay, self.updates_per_call, self.learning)
        return learner.submit(self._learn.compile, self.learner, batches, self._scale())

    def _begin_updates(self, learner: ThreadPoolExecutor) -> Callable[[], None]:
        """Start the gradient steps owed in the learner's thread; the function returned waits and takes them in.

        Batches are drawn here and now, and the thread is given nothing that anyone changes meanwhile, so that
        what it finds does not depend on which thread is faster.
        """
        calls = list(self._owed_batches())
        if not calls:
            return lambda: None
        job: Future[tuple[LearnerState, list[Report]]]
        job = learner.submit(self._updates, self.learner, calls, self._scale())

        def finish() -> None:
            with self.clock(profile.LEARNING):
                self.learner, reports = job.result()
                for batches, report in zip(calls, reports, strict=True):
                    self._take_in(batches, report)

        return finish

    def _scale(self) -> Scale | None:
        """What observations are normalised by from the next gradient step on."""
        return self.normaliser.scale() if self.config.network.normalise_observations else None

    def _owed_batches(self) -> Iterator[Batch]:
        """What each call of gradient steps that is owed learns from, built when it is asked for."""
        config = self.learning
        while self.owed_updates >= self.updates_per_call:
            self.owed_updates -= self.updates_per_call
            with self.clock(profile.BATCH):
                batches = sample(self.replay, self.updates_per_call, config)
                if config.augment and self.symmetries:
                    batches = augment(batches, self.symmetries, self.rng)
            yield batches

    def _updates(
        self, state: LearnerState, calls: list[Batch], scale: Scale | None
    ) -> tuple[LearnerState, list[Report]]:
        """Gradient steps on these batches, finished; a function of its arguments alone, in whatever thread."""
        reports = []
        for batches in calls:
            state, report = self._learn(state, batches, scale)
            reports.append(jax.block_until_ready(report))
        return state, reports

    def _take_in(self, batches: Batch, report: Report) -> None:
        """What a call of gradient steps tells replay and the metrics."""
        self.updates += self.updates_per_call
        self._collect(report)  # first: what is not finite ends the run
        if self.config.replay.priority_alpha > 0:
            self.replay.update_priorities(batches.index, np.asarray(report.priority))
        age, rate = float(np.mean(batches.age)), self.config.reanalyse.positions_per_step
        # A sweep comes round every steps/rate environment steps; its targets are half as old on average.
        self._note("target_age", min(age, self.replay.steps / (2 * rate)) if rate > 0 else age)

    def _collect(self, report: Report) -> None:
        """Take in what the gradient steps said of themselves.

        Raises:
          NonFiniteLossError: an entry is NaN or infinite.
        """
        values = {name: np.asarray(x) for name, x in report._asdict().items() if name != "priority"}
        for name, x in values.items():
            if not np.isfinite(x).all():
                raise NonFiniteLossError(self._explain(name, values))
            self._note(name, float(x.mean()))
        spread = float(values["value_spread"].mean())
        self.value_spread += SPREAD_RATE * (spread - self.value_spread) if self.value_spread else spread
        self.value_spread = max(self.value_spread, self.least_spread)
        # Where all targets are one and the same, as before the first reward, there is nothing to explain.
        told = spread > LEAST_TOLD * self.least_spread
        explained = float(values["value_explained"].mean()) if told else 0.0
        self.value_explained += EXPLAINED_RATE * (explained - self.value_explained)

    def _explain(self, name: str, values: dict[str, np.ndarray]) -> str:
        terms = [n for n, x in values.items() if n.endswith("_loss") and not np.isfinite(x).all()]
        return (
            f"{', '.join(terms) or name} is not finite after {self.updates} updates, "
            f"{self.env_steps} environment steps. "
            f"The last good checkpoint is kept in {self.folder.path}, and going on from there would end the same. Look "
            f"at the environment with `muzen check {quoted(self.config.env_id)}`, or begin with what was learned and a "
            f"smaller step: `muzen train {quoted(self.config.env_id)} --warm-start {quoted(self.folder.path)} "
            f"--learn.learning-rate {self.config.learn.learning_rate / 4:g}`, and the settings that you gave."
        )

    # --- the run ------------------------------------------------------------------------------------------

    def run(self) -> str:
        """Train until a budget is spent or something stops it.

        Returns:
          "finished", or why it stopped.

        Raises:
          NonFiniteLossError: a loss turned NaN; the last good checkpoint stays.
        """
        self._began = time.monotonic()
        overlapped = self.config.schedule == "overlapped"
        with self._signals(), ThreadPoolExecutor(1, "muzen-learner") as learner:
            learns = self.config.env_steps > self.config.act.random_steps
            compiled = self._compile(learner) if learns and not self.started else None
            if self.turn == 0:
                self.checkpoint()
            while not self.finished and self._stop is None:
                # Overlapped: what the turn before owes is learned while this one acts, with the weights before that.
                take_in = self._begin_updates(learner) if overlapped else self.learn
                steps = self.act()
                self.turn += 1
                if self.env_steps >= self.config.act.random_steps and (self.started or self.replay.starts):
                    if not self.started:
                        if compiled is not None:
                            with self.clock(profile.LEARNING):
                                compiled.result()
                        self.begin_learning()
                    with self.clock(profile.REANALYSIS):
                        self.reanalyse.step(steps, self._fresh_plan)
                        self.reanalyse.refresh_values(steps, self._judge, self.rng)
                    self.owe(steps)
                # From here to the end of the turn nothing is under way in the other thread.
                take_in()
                if self._measures(steps):
                    with self.clock(profile.CURVE):
                        self.measure()
                if self.env_steps >= self.next_report:
                    self.report()
                    self.next_report += REPORT_STEPS
                if self.elapsed() >= self.next_checkpoint:
                    self.checkpoint()
            if self.finished:
                self.learn()
                if self.window:
                    self.report()
            self.checkpoint()
        return "finished" if self.finished and not self._signalled else str(self._stop)

    def _note(self, name: str, value: float) -> None:
        self.window.setdefault(name, []).append(value)

    def report(self) -> None:
        """One row of the metrics table, the health checks, and the callbacks."""
        row: dict[str, float] = {
            "env_steps": self.env_steps,
            "updates": self.updates,
            "episodes": self.episodes,
            "terminations": self.terminations,
            "seconds": round(self.elapsed(), 3),
        }
        if self.recent:
            row["recent_return"] = float(np.mean(self.recent))
        if self.wrongly_resigned:
            row["resign_false_positives"] = float(np.mean(self.wrongly_resigned))
            row["resign_judged"] = len(self.wrongly_resigned)
        row |= {name: float(np.mean(x)) for name, x in sorted(self.window.items())}
        row["reward_spread"] = self.reward_high - self.reward_low
        if self.started:
            row["reward_largest"] = max(abs(self.reward_low), abs(self.reward_high)) / self.reward_scale
        row["replay_steps"] = self.replay.steps
        self.window = {}
        self.metrics.write(row)
        findings = self.health.look(row)
        for callback in self.callbacks:
            callback.on_report(self, row)
            if findings:
                callback.on_health(self, findings)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM ask for a checkpoint and an end; a second Ctrl-C leaves as soon as nothing is compiled or
        learned in the other thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            if self._signalled and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._signalled = True
            self.stop(signal.Signals(number).name)

        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                if handler is not None:  # none of Python's: it cannot be put back
                    signal.signal(number, handler)

    # --- keeping and restoring ------------------------------------------------------------------------------

    def checkpoint(self) -> None:
        """Write everything that the run needs to go on, atomically."""
        with self.clock(profile.CHECKPOINTS):
            save(self)
        self.next_checkpoint = self.elapsed() + self.config.checkpoint_minutes * 60
        for callback in self.callbacks:
            callback.on_checkpoint(self)

    def restore(self) -> list[str]:
        """Stand where the last checkpoint stood.

        Returns:
          Why the run is not resumable to the bit, if it is not: one line for each environment that differs.
        """
        broken = restore(self)
        self.next_checkpoint = self.seconds + self.config.checkpoint_minutes * 60
        self._began = time.monotonic()
        return broken

    def warm_start(self, folder: Path) -> None:
        """Begin with what another run learned: its weights, its units of values and rewards, its scale of observations.

        No step is random then; replay and counters start empty.

        Raises:
          RunError: the folder holds no run that can be read, or its arrays do not fit this run's network.
          ConfigError: what its network takes or gives means something else in this run.
        """
        begin_warm(self, folder)

    def each_model(self, change: Callable[[NetworkModel], NetworkModel]) -> None:
        """Change the model, its target and its average alike."""
        state = self.learner
        self.learner = state._replace(
            model=change(state.model), target=change(state.target), average=change(state.average)
        )

    def on_evaluation(self, done: int, episodes: int) -> None:
        """Pass an evaluation's progress on to the callbacks."""
        for callback in self.callbacks:
            callback.on_evaluation(done, episodes)

    def close(self) -> None:
        """Close the environments."""
        self.rollout.close()

    def agent(self) -> Agent:
        """The agent as it stands, with evaluation's simulations."""
        model = devices.here(self.learner.average)
        return make_agent(self.config, self.spec, model, self.env_steps, self.span_floor(), self.mesh)


@jax.jit
def _keys(key: jax.Array, drawn: jax.Array) -> jax.Array:
    """[E] keys of exploration, one for each environment and the turn that its noise was drawn in."""
    of_noise = jax.random.fold_in(key, 3)
    each = jnp.arange(len(drawn)), drawn
    return jax.vmap(lambda i, turn: jax.random.fold_in(jax.random.fold_in(of_noise, i), turn))(*each)
