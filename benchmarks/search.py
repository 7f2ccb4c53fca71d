"""Search speed and memory beside mctx and beside the network alone, in one run with one network.

    pip install -e ".[bench]" && python benchmarks/search.py [--full] [--json FILE] [--plot FILE]

Each point is roots x actions x simulations, of an MLP (64 wide) or, with "conv" before it, a convolutional network (64
channels on 6 x 7 cells). The programs of a point take turns, so that what else the machine does falls on all of them;
a ratio is the median of the ratios within one round, its range from the 10th to the 90th percentile. "floor" is the
same number of recurrent inferences in a bare loop with states fetched and stored, and no tree. Peak memory is measured
in a process for each program. A program that would need more than 4 GB, or longer than --limit-s for one search, is
left out, and that is said. With two cores, points of 64 and more roots have a second line: the roots divided over the
cores, shown to JAX as two devices, ours by `mesh`, mctx's by `jax.shard_map`. Everything else runs on one device, which
has both cores' threads.

--full is the whole grid, roots 1-1024, actions 2-4672, simulations 16-800, both networks: it takes hours.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import common
import jax
import jax.numpy as jnp
import mctx
import numpy as np
from jax.sharding import PartitionSpec

from muzen.devices import AXIS, LEAST_ROOTS, available, divided, everywhere, mesh_of
from muzen.machine import usable_cores
from muzen.search import Gumbel, Puct, search
from muzen.types import Prediction

QUICK = (
    "1x2x50,8x2x50,32x2x50,128x2x50,512x2x50,32x18x50,32x82x200,8x362x800,1x4672x50,"
    "conv:1x7x50,conv:8x7x50,conv:32x7x50"
)
FULL = ([1, 8, 32, 128, 512, 1024], [2, 18, 82, 362, 4672], [16, 50, 200, 800], ["mlp", "conv"])
SUPPORT = np.arange(-10, 11.0, dtype=np.float32)
DISCOUNT = 0.997
WIDTH, CHANNELS, CELLS, PLANES = 64, 64, (6, 7), 3
MOST_BYTES = 4e9
# What decides whether a program is tried at all; generous readings of what was seen on two cores.
FLOPS, MCTX_GUMBEL_S, MCTX_PUCT_S, NETWORK_S = 4e10, 1e-6, 1e-7, 1e-6
ENGINES = ("floor", "gumbel", "puct", "mctx gumbel", "mctx puct")
DEVICES = 2


# --- the network, the same for everyone -----------------------------------------------------------------------------
def make_parameters(key, actions, kind):
    """{name: (weights, bias)}; categorical reward and value with 21 bins."""
    cells = CELLS[0] * CELLS[1]
    if kind == "mlp":
        body = {"r1": (4, WIDTH), "r2": (WIDTH, WIDTH), "d1": (WIDTH + actions, WIDTH), "d2": (WIDTH, WIDTH)}
        flat = WIDTH
    else:
        square = (3, 3)
        body = {
            "r1": (*square, PLANES, CHANNELS),
            "r2": (*square, CHANNELS, CHANNELS),
            "d1": (*square, CHANNELS, CHANNELS),
            "d2": (*square, CHANNELS, CHANNELS),
            "action": (actions, CHANNELS),
            "squeeze": (CHANNELS, 2),
        }
        flat = 2 * cells
    heads = {"reward": (flat, 21), "v1": (flat, WIDTH), "value": (WIDTH, 21), "policy": (WIDTH, actions)}
    sizes = body | heads
    keys = jax.random.split(key, len(sizes))
    return {
        name: (jax.random.normal(k, size) / np.sqrt(np.prod(size[:-1])), jnp.zeros(size[-1]))
        for k, (name, size) in zip(keys, sizes.items(), strict=True)
    }


def linear(layer, x):
    return x @ layer[0] + layer[1]


def convolve(layer, x):
    return (
        jax.lax.conv_general_dilated(x, layer[0], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")) + layer[1]
    )


def initial(parameters, observation):
    layer = linear if "squeeze" not in parameters else convolve
    return jnp.tanh(layer(parameters["r2"], jax.nn.relu(layer(parameters["r1"], observation))))


def flatten(parameters, state):
    if "squeeze" not in parameters:
        return state
    return jax.nn.relu(linear(parameters["squeeze"], state)).reshape(len(state), -1)


def predict(parameters, state):
    hidden = jax.nn.relu(linear(parameters["v1"], flatten(parameters, state)))
    value = jax.nn.softmax(linear(parameters["value"], hidden)) @ SUPPORT
    return linear(parameters["policy"], hidden), value


def recurrent(parameters, state, action):
    if "squeeze" in parameters:
        entering = state + parameters["action"][0][action][:, None, None, :]
        state = jnp.tanh(state + convolve(parameters["d2"], jax.nn.relu(convolve(parameters["d1"], entering))))
        reward = jax.nn.softmax(linear(parameters["reward"], flatten(parameters, state))) @ SUPPORT
    else:
        one_hot = jax.nn.one_hot(action, parameters["policy"][1].shape[0])
        hidden = jax.nn.relu(linear(parameters["d1"], jnp.concatenate([state, one_hot], -1)))
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


# --- the programs ---------------------------------------------------------------------------------------------------
def muzen_program(rule, simulations, mesh):
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
        result = search(Model(parameters), root, key, simulations=simulations, rule=rule, explore=True, mesh=mesh)
        return result.action, result.policy, result.value

    return run


def mctx_program(policy, simulations, mesh):
    def step(parameters, key, action, state):
        state, reward, logits, value = recurrent(parameters, state, action)
        discount = jnp.full_like(reward, DISCOUNT)
        return mctx.RecurrentFnOutput(reward=reward, discount=discount, prior_logits=logits, value=value), state

    def run(parameters, key, observation):
        state = initial(parameters, observation)
        logits, value = predict(parameters, state)
        root = mctx.RootFnOutput(prior_logits=logits, value=value, embedding=state)
        out = policy(parameters, key, root, step, simulations)
        return out.action, out.action_weights, out.search_tree.node_values[:, 0]

    if mesh is None:
        return jax.jit(run)
    alike, parts = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(alike, alike, parts), out_specs=parts, check_vma=False))


def floor_program(simulations):
    @jax.jit
    def run(parameters, key, observation):
        batch, actions = observation.shape[0], parameters["policy"][1].shape[0]
        rows = jnp.arange(batch)
        state = initial(parameters, observation)
        states = jnp.zeros((simulations + 1, *state.shape)).at[0].set(state)
        parents = jax.random.randint(key, (simulations, batch), 0, jnp.arange(1, simulations + 1)[:, None])
        taken = jax.random.randint(key, (simulations, batch), 0, actions)

        def simulate(k, carry):
            states, total = carry
            state, reward, logits, value = recurrent(parameters, states[parents[k - 1], rows], taken[k - 1])
            # Every output is used, or XLA would leave out its layer.
            return jax.lax.dynamic_update_index_in_dim(states, state, k, 0), total + reward + value + logits[:, 0]

        return jax.lax.fori_loop(1, simulations + 1, simulate, (states, jnp.zeros(batch)))[1]

    return run


def program(engine, simulations, mesh=None):
    if engine == "floor":
        return floor_program(simulations)
    if engine.startswith("mctx"):
        return mctx_program(mctx.gumbel_muzero_policy if "gumbel" in engine else mctx.muzero_policy, simulations, mesh)
    return muzen_program(Gumbel() if engine == "gumbel" else Puct(), simulations, mesh)


# --- one point ------------------------------------------------------------------------------------------------------
def parse(point: str) -> tuple[str, int, int, int]:
    """'conv:8x7x50' -> (kind, roots, actions, simulations)."""
    kind, _, sizes = point.rpartition(":")
    roots, actions, simulations = map(int, sizes.split("x"))
    return kind or "mlp", roots, actions, simulations


def state_bytes(kind: str) -> int:
    return 4 * (WIDTH if kind == "mlp" else CHANNELS * CELLS[0] * CELLS[1])


def reason_to_skip(engine: str, point: str, limit_s: float) -> str:
    """Why this program is not tried at this point, or nothing."""
    kind, roots, actions, simulations = parse(point)
    # Arrays over actions of each node: one in Muzen's tree, six in mctx's; and a copy for the search's result.
    arrays = {"floor": 0, "gumbel": 1, "puct": 1, "mctx gumbel": 6, "mctx puct": 6}[engine]
    size = roots * (simulations + 1) * (4 * arrays * actions + 80 + state_bytes(kind))
    if size > MOST_BYTES:
        return f"needs about {size / 1e9:.0f} GB"
    work = 2.0 * (WIDTH * WIDTH * 4 + 2 * WIDTH * actions)
    if kind == "conv":
        work += 2 * 2.0 * 9 * CHANNELS * CHANNELS * CELLS[0] * CELLS[1]
    seconds = roots * simulations * (work / FLOPS + NETWORK_S)
    if engine == "mctx gumbel":
        seconds += MCTX_GUMBEL_S * roots * actions * simulations
    if engine == "mctx puct":
        seconds += MCTX_PUCT_S * roots * actions * simulations**2
    return f"takes about {seconds:.0f} s a search" if seconds > limit_s else ""


def arguments(kind: str, roots: int, actions: int) -> tuple[Any, Any, Any]:
    shape = (roots, 4) if kind == "mlp" else (roots, *CELLS, PLANES)
    observation = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    return make_parameters(jax.random.key(0), actions, kind), jax.random.key(1), observation


def peak_memory(engine: str, point: str) -> int | None:
    """Peak bytes of one search, measured in a process of its own; None where it cannot be told."""
    done = subprocess.run(
        [sys.executable, __file__, "--memory-of", engine, "--points", point],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        common.say(f"  {engine}: no peak memory: {(done.stderr.strip().splitlines() or ['killed'])[-1]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


def own_peak(engine: str, point: str) -> int | None:
    """The same, in this process: compiled beforehand, then one search."""
    kind, roots, actions, simulations = parse(point)
    given = arguments(kind, roots, actions)
    compiled = program(engine, simulations).lower(*given).compile()
    jax.block_until_ready(given)
    return common.peak_bytes(lambda: jax.block_until_ready(compiled(*given)))


def measure_point(point: str, engines: list[str], rounds: int, limit_s: float, memory: bool) -> dict[str, Any]:
    """Everything about one point: microseconds, ratios, peak memory, and what was left out."""
    kind, roots, actions, simulations = parse(point)
    skipped = {e: why for e in engines if (why := reason_to_skip(e, point, limit_s))}
    row: dict[str, Any] = {"network": kind, "roots": roots, "actions": actions, "simulations": simulations}
    row["skipped"] = skipped
    engines = [e for e in engines if e not in skipped]
    given = arguments(kind, roots, actions)
    runs = {e: partial(program(e, simulations), *given) for e in engines}
    enough = usable_cores() >= DEVICES and available(DEVICES) >= DEVICES
    if enough and roots >= LEAST_ROOTS * DEVICES and roots % DEVICES == 0:
        mesh = mesh_of(DEVICES)
        parts = (*everywhere(given[:2], mesh), divided(given[2], mesh))
        runs |= {f"{e} divided": partial(program(e, simulations, mesh), *parts) for e in engines if e != "floor"}
    slow = roots * actions * simulations > 200_000 or (kind == "conv" and roots * simulations > 1_000)
    times = common.in_turn(
        {e: lambda run=run: jax.block_until_ready(run()) for e, run in runs.items()},
        max(3, rounds // 6) if slow else rounds,
    )
    for e in runs:
        row[f"{e} us"] = common.summary([t / simulations * 1e6 for t in times[e]])
    for rule in ("gumbel", "puct"):
        for name, a, b in ((f"{rule} / floor", rule, "floor"), (f"mctx / {rule}", f"mctx {rule}", rule)):
            row[name] = common.ratio(times, a, b) if a in times and b in times else None
        ours = f"{rule} divided"
        for peer in (f"mctx {rule}", f"mctx {rule} divided"):
            if ours in times and peer in times:
                row[f"{peer} / {ours}"] = common.ratio(times, peer, ours)
    if memory:
        row["peak bytes"] = {e: peak_memory(e, point) for e in engines if e != "floor"}
    return row


def line(row: dict[str, Any]) -> str:
    """One point for people."""
    point = f"{row['network']} {row['roots']} x {row['actions']} x {row['simulations']}"
    cells = [f"{row[f'{e} us']['median']:.4g}" if f"{e} us" in row else "-" for e in ENGINES[:3]]
    cells += [common.show(row[name]) for name in ("gumbel / floor", "puct / floor", "mctx / gumbel", "mctx / puct")]
    peaks = row.get("peak bytes", {})
    cells += [f"{peaks[e] / 1e6:.4g}" if peaks.get(e) is not None else "-" for e in ENGINES[1:]]
    return f"{point:>22} " + " ".join(f"{cell:>19}" for cell in cells)


def divided_line(row: dict[str, Any]) -> str:
    """What the roots divided over the cores gain, or nothing where they are not."""
    found = []
    for rule in ("gumbel", "puct"):
        ours = f"{rule} divided"
        if f"{ours} us" not in row:
            continue
        text = f"{rule} {row[f'{ours} us']['median']:.4g} us"
        for peer, name in ((f"mctx {rule}", "mctx on one device"), (f"mctx {rule} divided", "mctx divided too")):
            if ratio := row.get(f"{peer} / {ours}"):
                text += f", {name} / it {common.show(ratio)}"
        found.append(text)
    return f"{'':>22} on {DEVICES} devices: " + "; ".join(found) if found else ""


HEADER = f"{'point':>22} " + " ".join(
    f"{name:>19}"
    for name in (
        *("floor us", "gumbel us", "puct us", "gumbel / floor", "puct / floor", "mctx / gumbel", "mctx / puct"),
        *(f"{e} MB" for e in ENGINES[1:]),
    )
)


def plot(rows: list[dict[str, Any]], about: str, path: Path) -> None:
    """How many times faster than mctx, and how many times the network's own time, point by point."""
    drawn, (faster, above) = common.figure(2, height=0.36 * len(rows) + 1.6)
    names = [
        f"{r['roots']} × {r['actions']} × {r['simulations']}{' conv' if r['network'] == 'conv' else ''}" for r in rows
    ]
    places = np.arange(len(rows))[::-1]
    for axes, columns, colours, title in (
        (faster, ("mctx / gumbel", "mctx / puct"), ("#0072b2", "#d55e00"), "times faster than mctx"),
        (above, ("gumbel / floor", "puct / floor"), ("#0072b2", "#d55e00"), "time, in that of the network alone"),
    ):
        for column, colour, shift in zip(columns, colours, (0.12, -0.12), strict=True):
            found = [(y + shift, r[column]) for y, r in zip(places, rows, strict=True) if r[column] is not None]
            y, x = (
                [y for y, _ in found],
                np.array([[f["median"], f["low"], f["high"]] for _, f in found]).reshape(-1, 3),
            )
            label = "Gumbel" if "gumbel" in column else "pUCT"
            bars = np.maximum(0, [x[:, 0] - x[:, 1], x[:, 2] - x[:, 0]])
            axes.errorbar(x[:, 0], y, xerr=bars, fmt="o", ms=5, color=colour, elinewidth=1.2, label=label)
        axes.set_xscale("log", base=2)
        axes.axvline(1, color="#9aa0a6", lw=1)
        axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
        axes.set_yticks(places, names if axes is faster else [""] * len(rows))
        axes.set_ylim(-0.7, len(rows) - 0.3)
        axes.set_title(title)
    drawn.legend(*faster.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    drawn.suptitle("roots × actions × simulations", x=0.01, ha="left", fontsize=9, color="#5f6368")
    drawn.supxlabel(about, fontsize=8, color="#5f6368")
    common.save_figure(drawn, path)


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--points", default="", help="[conv:]roots x actions x simulations, comma separated")
    parser.add_argument("--full", action="store_true", help="the whole grid")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--limit-s", type=float, default=30, help="leave out what takes longer for one search")
    parser.add_argument("--no-mctx", action="store_true")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--memory-of", choices=ENGINES, help="print the peak memory of one program and nothing else")
    options = parser.parse_args()
    if options.memory_of:
        print(json.dumps(own_peak(options.memory_of, options.points)))
        return
    points = (options.points or QUICK).split(",")
    if options.full:
        points = [f"{kind}:{r}x{a}x{s}" for r, a, s, kind in itertools.product(*FULL)]
    engines = [e for e in ENGINES if not (options.no_mctx and e.startswith("mctx"))]
    available(min(DEVICES, usable_cores()))  # before anything that starts JAX
    about = common.machine()
    common.say(
        f"{common.describe(about)}\nmicroseconds per simulation of the whole batch; medians, 10th-90th percentile"
    )
    common.say(HEADER)
    rows = []
    for point in points:
        row = measure_point(point, engines, options.rounds, options.limit_s, not options.no_memory)
        rows.append(row)
        common.say(line(row))
        if text := divided_line(row):
            common.say(text)
        for engine, why in row["skipped"].items():
            common.say(f"{'':>22} {engine} left out: {why}")
        jax.clear_caches()
    common.report({"machine": about, "rows": rows}, options.json)
    if options.plot:
        plot(rows, common.describe(about), options.plot)


if __name__ == "__main__":
    main()
