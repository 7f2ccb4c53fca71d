"""The learning step beside its floor, and what building its batches costs.

    python benchmarks/learning.py [--env CartPole-v1,LunarLander-v3] [--rounds 30] [--json FILE]

"floor" is the forward and backward pass of the same network on arrays that are ready, the loss and its gradient, and
nothing else: no optimiser, no averaged or target weights, no reports. All take as many gradient steps in one call as
training does, whose own time is shared out among them. Floor, learning step and batch building take
turns; a ratio is the median of the ratios within one round, its range from the 10th to the 90th percentile.
"""

from __future__ import annotations

from typing import Any

import common
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from muzen.config import Config
from muzen.experiment import make_model, updates_per_call
from muzen.learner import Report, init_learner, loss, make_learn, sample, trainable
from muzen.optimizer import make_optimizer
from muzen.replay import Replay, Rows
from muzen.types import EnvSpec

EPISODE = 100


def filled(spec: EnvSpec, config: Config, steps: int) -> Replay:
    """Episodes of random numbers, one search result a row."""
    random, lanes = np.random.default_rng(0), config.act.environments
    replay = Replay(spec, config.replay, lanes, 0)
    every = np.arange(lanes)
    for t in range(steps // lanes):
        where = t % (EPISODE + 1)
        final = np.full(lanes, where == EPISODE)
        replay.add(
            every,
            Rows(
                random.normal(size=(lanes, *spec.observation_shape)).astype(spec.observation_dtype),
                random.integers(0, spec.num_actions, lanes),
                random.normal(size=(lanes, spec.players)).astype(np.float32),
                np.full(lanes, where == EPISODE - 1),
                np.zeros(lanes, bool),
                final,
                np.zeros(lanes, np.int32),
                np.ones((lanes, spec.num_actions), bool),
                random.dirichlet(np.ones(spec.num_actions), lanes).astype(np.float32),
                random.normal(size=(lanes, spec.players)).astype(np.float32),
                t // (EPISODE + 1) * lanes + every,
            ),
        )
    return replay


def programs(config: Config, spec: EnvSpec, count: int):
    """{name: a function that makes `count` gradient steps, or what feeds them}."""
    learn, replay = config.learn, filled(spec, config, 20_000)
    model = make_model(config, spec, None, None, None)
    optimizer = make_optimizer(learn)
    step = make_learn(learn, optimizer, 10_000)
    state = init_learner(model, optimizer)

    def batch():
        return sample(replay, count, learn)

    parameters, rest = eqx.partition(model, trainable(model))

    @eqx.filter_jit
    def floor(parameters, batches):
        def body(total, one):
            # With the loss itself: for the gradient alone, XLA leaves out the end of the forward pass.
            value, gradient = jax.value_and_grad(lambda p: loss(eqx.combine(p, rest), model, one, learn)[0])(parameters)
            return jax.tree.map(jnp.add, total, gradient), value

        zeros = jax.tree.map(jnp.zeros_like, parameters)
        return jax.lax.scan(body, zeros, batches)

    ready = jax.tree.map(jnp.asarray, batch())

    def whole() -> Report:
        nonlocal state
        state, report = step(state, ready)
        return report

    return {"floor": lambda: floor(parameters, ready), "learning step": whole, "batch": batch}


def measure(config: Config, spec: EnvSpec, rounds: int) -> dict[str, Any]:
    """Microseconds for one gradient step of each program, and the ratios."""
    count = updates_per_call(config.act.environments, config.learn)
    runs = programs(config, spec, count)
    times = common.in_turn({name: lambda run=run: jax.block_until_ready(run()) for name, run in runs.items()}, rounds)
    row: dict[str, Any] = {"steps a call": count}
    row |= {f"{name} us": common.summary([t / count * 1e6 for t in times[name]]) for name in runs}
    for a, b in (("learning step", "floor"), ("batch", "learning step")):
        row[f"{a} / {b}"] = common.ratio(times, a, b)
    return row


def main() -> None:
    parser = common.parser(__doc__, plot=False)
    parser.add_argument("--env", default="CartPole-v1,LunarLander-v3")
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    about = common.machine()
    common.say(f"{common.describe(about)}\nmicroseconds of one gradient step; medians, 10th-90th percentile")
    rows = []
    for env_id in options.env.split(","):
        config, spec = common.as_trained(env_id)
        row = {"env": env_id, "batch size": config.learn.batch_size, **measure(config, spec, options.rounds)}
        rows.append(row)
        common.say("  ".join(f"{name} {common.show(x) if isinstance(x, dict) else x}" for name, x in row.items()))
    common.report({"machine": about, "rows": rows}, options.json)


if __name__ == "__main__":
    main()
