"""How soon does a game's network learn which moves end a game, with nothing else to learn? For work on networks.

    python benchmarks/wins.py openspiel:connect_four [--set learn.optimizer=adam network.state_scaling=tanh …]

Games are random, but every second win at hand is taken. The network is asked, K moves after a position, whether the
game is over; no search, no policy, no value, no warm-up. One line for each quarter of the updates, over games kept
aside: the share of ends seen, of other moves taken for ends, and the mean negative log likelihood, for each k.
"""

from __future__ import annotations

import ast
import dataclasses
import time
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from common import as_trained, describe, machine, parser, report, say

from muzen.config import override
from muzen.envs import OpenSpielSimulator
from muzen.experiment import make_model
from muzen.learner import trainable, unroll
from muzen.maths.losses import binary_cross_entropy
from muzen.optimizer import make_optimizer

UNROLLED = 3
SEQUENCES, KEPT_ASIDE = 60_000, 4_000
OF_ONE_GAME = 3


class Sequences(NamedTuple):
    """Positions and the moves after them."""

    observation: np.ndarray  # [N, ...]
    action: np.ndarray  # [N, K] int32
    over: np.ndarray  # [N, K] the game ended with this move
    played: np.ndarray  # [N, K] the game had not ended before


def random_games(rules: OpenSpielSimulator, size: int, seed: int) -> Sequences:
    """Sequences from games in which every second win at hand is taken."""
    rng = np.random.default_rng(seed)
    states: list[Any] = []
    action = np.zeros((size, UNROLLED), np.int32)
    over, played = np.zeros((size, UNROLLED), bool), np.zeros((size, UNROLLED), bool)
    while len(states) < size:
        state, line = rules.game.new_initial_state(), []
        while not state.is_terminal():
            legal, mover = state.legal_actions(), state.current_player()
            move = legal[rng.integers(len(legal))]
            if rng.random() < 0.5:
                after = {a: state.child(a) for a in legal}
                move = next((a for a, s in after.items() if s.is_terminal() and s.returns()[mover] > 0), move)
            line.append((state.clone(), move))
            state.apply_action(move)
        for start in rng.integers(len(line), size=OF_ONE_GAME)[: size - len(states)]:
            following = [a for _, a in line[start : start + UNROLLED]]
            n = len(states)
            action[n, : len(following)] = following
            played[n, : len(following)] = True
            over[n] = np.arange(start, start + UNROLLED) == len(line) - 1
            states.append(line[start][0])
    return Sequences(rules.look(states).observation, action, over, played)


def ends(model: Any, observation: Any, action: Any) -> jax.Array:
    """[B, K] logits that the k-th move ended the game."""
    after = jax.tree.map(lambda x: x[:, 1:].reshape((-1, *x.shape[2:])), unroll(model, observation, action))
    return -model.network.continues(after).reshape(action.shape)


def main() -> None:
    """Train, and say what is seen."""
    flags = parser(__doc__, plot=False)
    flags.add_argument("game", help="openspiel:GAME, without chance")
    flags.add_argument("--set", nargs="+", default=[], metavar="FIELD=VALUE", help="in place of the game's preset")
    flags.add_argument("--updates", type=int, default=2000, help="gradient steps (default 2000)")
    flags.add_argument("--batch", type=int, default=128, help="sequences in each (default 128)")
    arguments = flags.parse_args()
    config, spec = as_trained(arguments.game)
    changed = {name: _value(text) for name, _, text in (each.partition("=") for each in arguments.set)}
    config = override(config, changed)
    rules = OpenSpielSimulator(arguments.game)
    rules.require_no_chance()
    known, asked = random_games(rules, SEQUENCES, 0), random_games(rules, KEPT_ASIDE, 1)
    model = make_model(config, spec, None, None, None)
    params, rest = eqx.partition(model, trainable(model))
    schedule = optax.cosine_decay_schedule(config.learn.learning_rate, arguments.updates)
    optimizer = optax.chain(make_optimizer(config.learn), optax.scale_by_schedule(schedule))
    state = optimizer.init(params)

    def loss(params: Any, batch: Sequences) -> jax.Array:
        logit = ends(eqx.combine(params, rest), batch.observation, batch.action)
        return (binary_cross_entropy(logit, batch.over) * batch.played).sum() / batch.played.sum()

    @jax.jit
    def update(params: Any, state: Any, batch: Sequences) -> tuple[Any, Any]:
        step, state = optimizer.update(jax.grad(loss)(params, batch), state, params)
        return optax.apply_updates(params, step), state

    judge = jax.jit(lambda params: ends(eqx.combine(params, rest), asked.observation, asked.action))
    about = machine()
    say(f"{arguments.game} {changed or ''}: {describe(about)}")
    say(f"{SEQUENCES:,} sequences, an end in {known.over.sum() / known.played.sum():.1%} of their moves")
    say("updates  seconds   " + "   ".join(f"k={k}: seen  false    nll" for k in range(1, UNROLLED + 1)))
    rng, rows, began = np.random.default_rng(2), [], time.perf_counter()
    for i in range(1, arguments.updates + 1):
        chosen = rng.integers(SEQUENCES, size=arguments.batch)
        params, state = update(params, state, Sequences(*(x[chosen] for x in known)))
        if i % max(arguments.updates // 4, 1) == 0:
            rows.append(
                {"updates": i, "seconds": time.perf_counter() - began} | _told(np.asarray(judge(params)), asked)
            )
            cells = zip(rows[-1]["seen"], rows[-1]["false"], rows[-1]["nll"], strict=True)
            row = "   ".join(f"{seen:9.1%} {false:6.2%} {nll:6.4f}" for seen, false, nll in cells)
            say(f"{i:7d} {rows[-1]['seconds']:8.0f}   {row}")
    settings = {"network": dataclasses.asdict(config.network), "learn": dataclasses.asdict(config.learn)}
    asked_for = {"game": arguments.game, "updates": arguments.updates, "batch": arguments.batch}
    report({"machine": about} | asked_for | settings | {"rows": rows}, arguments.json)


def _told(logit: np.ndarray, asked: Sequences) -> dict[str, list[float]]:
    nll = np.asarray(binary_cross_entropy(jnp.asarray(logit), jnp.asarray(asked.over)))
    told: dict[str, list[float]] = {"seen": [], "false": [], "nll": []}
    for k in range(UNROLLED):
        over, played = asked.over[:, k], asked.played[:, k]
        told["seen"].append(float((logit[over, k] > 0).mean()))
        told["false"].append(float((logit[played & ~over, k] > 0).mean()))
        told["nll"].append(float(nll[played, k].mean()))
    return told


def _value(text: str) -> Any:
    """A number or a truth value where it is one, otherwise the text itself."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    main()
