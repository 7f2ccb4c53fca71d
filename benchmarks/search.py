"""Search speed beside mctx and beside the network alone, in one run with one network.

    pip install -e ".[bench]" && python benchmarks/search.py [--json] [--points 32x2x50,1x2x50] [--rounds 30]

Each point is roots x actions x simulations. The programs take turns, so that what else the machine does falls on all
of them; a ratio is the median of the ratios within one round. "floor" is the same number of recurrent inferences in a
bare loop with states fetched and stored, and no tree.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time

import jax
import jax.numpy as jnp
import mctx
import numpy as np

from muzen.search import Gumbel, Puct, search
from muzen.types import Prediction

POINTS = "1x2x50,8x2x50,32x2x50,128x2x50,512x2x50,32x18x50,32x82x200"
SUPPORT = np.arange(-10, 11.0, dtype=np.float32)
DISCOUNT = 0.997


def make_parameters(key, actions, observation=4, width=64):
    """A plain MLP: 64-wide, categorical reward and value with 21 bins."""
    sizes = {
        "r1": (observation, width),
        "r2": (width, width),
        "d1": (width + actions, width),
        "d2": (width, width),
        "reward": (width, 21),
        "v1": (width, width),
        "value": (width, 21),
        "policy": (width, actions),
    }
    keys = jax.random.split(key, len(sizes))
    return {
        name: (jax.random.normal(k, size) / np.sqrt(size[0]), jnp.zeros(size[1]))
        for k, (name, size) in zip(keys, sizes.items(), strict=True)
    }


def linear(layer, x):
    return x @ layer[0] + layer[1]


def initial(parameters, observation):
    return jnp.tanh(linear(parameters["r2"], jax.nn.relu(linear(parameters["r1"], observation))))


def predict(parameters, state):
    hidden = jax.nn.relu(linear(parameters["v1"], state))
    value = jax.nn.softmax(linear(parameters["value"], hidden)) @ SUPPORT
    return linear(parameters["policy"], hidden), value


def recurrent(parameters, state, action):
    actions = parameters["policy"][1].shape[0]
    hidden = jax.nn.relu(linear(parameters["d1"], jnp.concatenate([state, jax.nn.one_hot(action, actions)], -1)))
    reward = jax.nn.softmax(linear(parameters["reward"], hidden)) @ SUPPORT
    state = jnp.tanh(linear(parameters["d2"], hidden))
    logits, value = predict(parameters, state)
    return state, reward, logits, value


class Model(dict):
    """The network as `muzen.search` takes it; a dict, hence a pytree once registered."""

    def recurrent(self, state, action):
        batch = action.shape[0]
        state, reward, logits, value = recurrent(self, state, action)
        return Prediction(
            reward[:, None],
            jnp.full(batch, DISCOUNT),
            jnp.zeros(batch, jnp.int32),
            jnp.ones(logits.shape, bool),
            value[:, None],
            logits,
            state,
        )


jax.tree_util.register_pytree_node(
    Model, lambda m: (tuple(m.values()), tuple(m)), lambda names, leaves: Model(zip(names, leaves, strict=True))
)


def muzen_program(rule, simulations):
    @jax.jit
    def run(parameters, key, observation):
        batch, actions = observation.shape[0], parameters["policy"][1].shape[0]
        state = initial(parameters, observation)
        logits, value = predict(parameters, state)
        root = Prediction(
            jnp.zeros((batch, 1)),
            jnp.ones(batch),
            jnp.zeros(batch, jnp.int32),
            jnp.ones((batch, actions), bool),
            value[:, None],
            logits,
            state,
        )
        result = search(Model(parameters), root, key, simulations=simulations, rule=rule, explore=True)
        return result.action, result.policy, result.value

    return run


def mctx_program(policy, simulations):
    def step(parameters, key, action, state):
        state, reward, logits, value = recurrent(parameters, state, action)
        discount = jnp.full_like(reward, DISCOUNT)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), state

    @jax.jit
    def run(parameters, key, observation):
        state = initial(parameters, observation)
        logits, value = predict(parameters, state)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
        out = policy(parameters, key, root, step, simulations)
        return out.action, out.action_weights, out.search_tree.node_values[:, 0]

    return run


def floor_program(simulations):
    @jax.jit
    def run(parameters, key, observation):
        batch, actions = observation.shape[0], parameters["policy"][1].shape[0]
        rows = jnp.arange(batch)
        state = initial(parameters, observation)
        states = jnp.zeros((simulations + 1, batch, state.shape[1])).at[0].set(state)
        parents = jax.random.randint(key, (simulations, batch), 0, jnp.arange(1, simulations + 1)[:, None])
        taken = jax.random.randint(key, (simulations, batch), 0, actions)

        def simulate(k, carry):
            states, total = carry
            state, reward, logits, value = recurrent(parameters, states[parents[k - 1], rows], taken[k - 1])
            # Every output is used, or XLA would leave out its layer.
            return jax.lax.dynamic_update_index_in_dim(states, state, k, 0), total + reward + value + logits[:, 0]

        return jax.lax.fori_loop(1, simulations + 1, simulate, (states, jnp.zeros(batch)))[1]

    return run


def measure(programs, arguments, rounds, simulations):
    """{name: seconds of each round}, the programs taking turns, and {name: seconds of the first call}."""
    first, times = {}, {name: [] for name in programs}
    repeats = {}
    for name, program in programs.items():
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        first[name] = time.perf_counter() - start
        start = time.perf_counter()
        jax.block_until_ready(program(*arguments))
        repeats[name] = max(1, int(0.005 / (time.perf_counter() - start)))
    for _ in range(rounds):
        for name, program in programs.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                jax.block_until_ready(program(*arguments))
            times[name].append((time.perf_counter() - start) / repeats[name])
    return times, first


def ratio(times, a, b):
    return statistics.median(x / y for x, y in zip(times[a], times[b], strict=True))


def run_point(roots, actions, simulations, rounds, with_mctx):
    parameters = make_parameters(jax.random.key(0), actions)
    observation = jnp.asarray(np.random.default_rng(0).normal(size=(roots, 4)), jnp.float32)
    programs = {
        "floor": floor_program(simulations),
        "gumbel": muzen_program(Gumbel(), simulations),
        "puct": muzen_program(Puct(), simulations),
    }
    if with_mctx:
        programs["mctx gumbel"] = mctx_program(mctx.gumbel_muzero_policy, simulations)
        programs["mctx puct"] = mctx_program(mctx.muzero_policy, simulations)
    slow = with_mctx and roots * actions * simulations > 200_000
    times, first = measure(programs, (parameters, jax.random.key(1), observation), 5 if slow else rounds, simulations)
    row = {"roots": roots, "actions": actions, "simulations": simulations}
    row |= {f"{name} us": statistics.median(t) / simulations * 1e6 for name, t in times.items()}
    row |= {f"{name} first call s": t for name, t in first.items()}
    for rule in ("gumbel", "puct"):
        row[f"{rule} / floor"] = ratio(times, rule, "floor")
        if with_mctx:
            row[f"mctx / {rule}"] = ratio(times, f"mctx {rule}", rule)
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", default=POINTS, help="roots x actions x simulations, comma separated")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--no-mctx", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, jax {jax.__version__}"
    rows = []
    shown = ["floor us", "gumbel us", "puct us", "gumbel / floor", "puct / floor"]
    if not options.no_mctx:
        shown += ["mctx gumbel us", "mctx puct us", "mctx / gumbel", "mctx / puct"]
    if not options.json:
        print(f"microseconds per simulation of the whole batch, medians ({machine})")
        print(f"{'point':>12} " + " ".join(f"{name:>14}" for name in shown))
    for point in options.points.split(","):
        roots, actions, simulations = map(int, point.split("x"))
        row = run_point(roots, actions, simulations, options.rounds, not options.no_mctx)
        rows.append(row)
        if not options.json:
            print(f"{point:>12} " + " ".join(f"{row[name]:14.2f}" for name in shown), flush=True)
    if options.json:
        print(json.dumps({"machine": machine, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
