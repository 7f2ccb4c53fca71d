"""Where a run's wall-clock goes: a clock for the parts of the loop, and the network's share of the search."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from muzen.static import Static, split
from muzen.types import Array, Model, Prediction

FILE = "profile.json"
SEARCH, ENVIRONMENT, STORING, BATCH = "search", "environment", "storing", "batch"
REANALYSIS, LEARNING, CHECKPOINTS, EVALUATION = "reanalysis", "learning step", "checkpoints", "evaluation"
CURVE = "learning curve's matches"
NETWORK, TREE = "search: network", "search: tree and calls"
COMPILING, REST = "compiling (longest call of each part)", "rest"
COMPILED = (SEARCH, STORING, BATCH, REANALYSIS, LEARNING)
# Timings of the search and of its network alone, in turn.
_ROUNDS = 15


class Clock:
    """Seconds by part, and the longest single call of each, which is where compiling shows.

    Parts do not nest; what no part covers is the rest.
    """

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.seconds: dict[str, float] = {}
        self.longest: dict[str, float] = {}

    def elapsed(self) -> float:
        """Seconds since the clock began."""
        return time.monotonic() - self.began

    @contextmanager
    def __call__(self, part: str) -> Iterator[None]:
        """Book what is done inside on `part`."""
        began = time.monotonic()
        try:
            yield
        finally:
            spent = time.monotonic() - began
            self.seconds[part] = self.seconds.get(part, 0.0) + spent
            self.longest[part] = max(self.longest.get(part, 0.0), spent)


def breakdown(clock: Clock, wall: float, network_share: float) -> dict[str, float]:
    """Seconds by part, the search divided, the rest included: they add up to the wall-clock.

    The longest call of a part that compiles is booked on compiling.

    Args:
      clock: what it has booked.
      wall: seconds in all.
      network_share: part of the search that its network takes, 0 to 1; see the function of that name.
    """
    parts = dict(clock.seconds)
    rest = wall - sum(parts.values())
    compiling = {part: clock.longest[part] for part in COMPILED if part in parts}
    parts = {part: seconds - compiling.get(part, 0.0) for part, seconds in parts.items()}
    search = parts.pop(SEARCH, 0.0)
    parts |= {NETWORK: network_share * search, TREE: (1 - network_share) * search}
    return parts | {COMPILING: sum(compiling.values()), REST: rest}


def network_share(search: Callable[[], Any], alone: Callable[[], Any]) -> float:
    """Median time of the network's inferences alone over that of whole searches, the two timed in turn; at most 1.

    The inferences of a search cannot be timed from inside its XLA program; the same number of them, with
    states fetched and stored but without a tree, can.

    Args:
      search: one whole search.
      alone: as many inferences of its network, for as many positions, such as `inferences`.
    """
    ratios = []
    for turn in range(_ROUNDS + 1):
        times = []
        for run in (alone, search):
            began = time.perf_counter()
            run()
            times.append(time.perf_counter() - began)
        if turn > 0:  # the first ones compile
            ratios.append(times[0] / times[1])
    return float(min(1.0, np.median(ratios)))


def inferences(model: Model, observation: Array, simulations: int) -> None:
    """As many recurrent inferences as a search of [B, ...] observations makes in a learned model."""
    jax.block_until_ready(_network_only(*split(model), observation, simulations))


@partial(jax.jit, static_argnums=(0, 3))
def _network_only(static: Static, arrays: list[Any], observation: Array, simulations: int) -> Array:
    model = static.join(arrays)
    root = model.initial(observation)
    batch, actions = root.policy_logits.shape
    rows = jnp.arange(batch)
    states = jax.tree.map(lambda s: jnp.zeros((simulations + 1, *s.shape), s.dtype).at[0].set(s), root.state)

    def simulate(k: Array, carry: Any) -> Any:
        states, total = carry
        # Any parent and action will do, as long as XLA cannot know them beforehand.
        parent, action = (rows * 7 + k * 3) % k, (rows + k) % actions
        found = model.recurrent(jax.tree.map(lambda s: s[parent, rows], states), action.astype(jnp.int32))
        states = jax.tree.map(lambda s, new: jax.lax.dynamic_update_index_in_dim(s, new, k, 0), states, found.state)
        return states, total + _every_output(found)

    return jax.lax.fori_loop(1, simulations + 1, simulate, (states, jnp.zeros(())))[1]


def _every_output(found: Prediction) -> Array:
    """A number that needs every output, or XLA would leave out its layer."""
    return sum((x.astype(jnp.float32).sum() for x in jax.tree.leaves(found._replace(state=()))), jnp.zeros(()))


def lines(parts: dict[str, float], env_steps: int) -> list[str]:
    """A table for people, largest part first.

    Args:
      parts: seconds, as `breakdown` gives them.
      env_steps: environment steps of the run, for the time that one takes.
    """
    wall = sum(parts.values())
    width = max(map(len, parts))
    table = [f"{'where the time went':<{width}}  {'seconds':>8}  {'share':>6}  {'µs per environment step':>24}"]
    for part, seconds in [*sorted(parts.items(), key=lambda item: -item[1]), ("wall-clock", wall)]:
        table.append(
            f"{part:<{width}}  {seconds:8.2f}  {seconds / wall:6.1%}  {seconds / max(env_steps, 1) * 1e6:24.0f}"
        )
    return table
