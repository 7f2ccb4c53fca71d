"""MuZero's pUCT: prior and value traded off by visit counts, Dirichlet noise at the root.

Source: Schrittwieser et al., MuZero, arXiv:1911.08265, appendix B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from muzen.search import rules
from muzen.search.loop import enter, select, step
from muzen.search.tree import MODE, SPAN_FLOOR, SUM, TEMPERATURE, compiled, exp, inlined, sum_exp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Puct:
    """MuZero's rule. Numbers may be traced arrays; changing them compiles nothing again.

    Attributes:
      c1, c2: exploration constants of
        Q + P sqrt(max(1, ΣN)) / (1 + N) (c1 + log((ΣN + c2 + 1) / c2)).
      dirichlet_fraction: share of Dirichlet noise in the root's prior; only when exploring.
      dirichlet_alpha: the noise's α; 0 means 10 / legal actions.
      normalise: "node" rescales Q to [0, 1] by the node's own value and its children's, and counts the node's
        own visit in ΣN (mctx's conventions); "tree" by the interval of the whole tree, per player, the paper's;
        "none" leaves it. An unvisited action has Q = 0 after rescaling.
      span_floor: smallest interval that Q is rescaled by, in units of value.
      bounds: known (lowest, highest) r + γV, which seeds the tree's interval; only with normalise="tree".
    """

    c1: Any = 1.25
    c2: Any = 19652.0
    dirichlet_fraction: Any = 0.25
    dirichlet_alpha: Any = 0.0
    normalise: Literal["node", "tree", "none"] = field(default="tree", metadata={"static": True})
    span_floor: Any = 0.0
    bounds: Any = None

    def __post_init__(self) -> None:
        rules.check_common("Puct", self.normalise, self.span_floor, self.bounds)
        rules.check_at_least("Puct.c1", self.c1, 0)
        rules.check_at_least("Puct.c2", self.c2, 1)
        rules.check_at_least("Puct.dirichlet_alpha", self.dirichlet_alpha, 0)
        rules.check_at_least("Puct.dirichlet_fraction", self.dirichlet_fraction, 0, 1)


def table(rule: Puct, simulations: int, kept: int = 0) -> jax.Array:
    """[1, simulations + kept + 2] the factor of P / (1 + N), by ΣN."""
    total = jnp.arange(simulations + kept + 2, dtype=jnp.float32)
    if rule.normalise == "node":
        total = total + 1
    factor = rule.c1 + jnp.log((total + rule.c2 + 1) / rule.c2)
    return (factor * jnp.sqrt(jnp.maximum(1.0, total)))[None]


def root_noise(rule: Puct, key: jax.Array, logits: jax.Array, legal: jax.Array, explore: Any):
    """(logits, scores, action noise): the root's log prior with Dirichlet noise, and Gumbel noise to sample with.

    The prior of a root has noise where `explore` is above 0; the action noise is multiplied by it.
    """
    noise_key, action_key = rules.split(key)
    count = jnp.maximum(legal.sum(-1, keepdims=True), 1)
    alpha = jnp.where(jnp.asarray(rule.dirichlet_alpha) > 0, rule.dirichlet_alpha, 10.0 / count)
    scale = rules.per_root(explore)

    def noisy():
        sample = rules.drawn(log_gamma, noise_key, jnp.broadcast_to(alpha, logits.shape))
        fraction = jnp.where(scale > 0, rule.dirichlet_fraction, 0.0)
        prior = (1 - fraction) * _softmax(logits, legal) + fraction * _softmax(sample, legal)
        mixed = jnp.where(legal, jnp.log(jnp.maximum(prior, jnp.finfo(jnp.float32).tiny)), -jnp.inf)
        top = jnp.where(legal.any(-1, keepdims=True), mixed.max(-1, keepdims=True), 0.0)
        mixed = jnp.where(scale > 0, mixed - top, logits)
        return mixed, rules.gumbel(action_key, logits) * scale

    if explore is True:
        scores, action_noise = noisy()
    else:
        scores, action_noise = jax.lax.cond((scale > 0).any(), noisy, lambda: (logits, jnp.zeros_like(logits)))
    return scores, scores, action_noise


_GROUP = 8  # samples of which one at a time is drawn again: one in twenty is refused


def log_gamma(key: jax.Array, alpha: jax.Array) -> jax.Array:
    """Logs of Gamma(α, 1) samples, float32, one for each entry of `alpha`.

    All are drawn at once, where `jax.random.loggamma` draws one after another on a CPU, a microsecond each: that was
    most of a search with many actions. Gamma(α) = Gamma(α + 1) U^(1/α) keeps small α exact. One proposal in twenty is
    refused; a refused one is drawn again, in every round one of each group.
    """
    alpha = jnp.clip(alpha.astype(jnp.float32), 1e-30, 1e30)  # beyond, logs are infinite, or nothing is accepted
    first, rest, power = jax.random.split(key, 3)
    padding = -alpha.size % _GROUP
    shape = jnp.concatenate([alpha.ravel() + 1, jnp.ones(padding, jnp.float32)]).reshape(-1, _GROUP)
    found, accepted = _propose(first, shape)

    def again(state):
        key, found, accepted = state
        key, this = jax.random.split(key)
        place = jnp.argmin(accepted, axis=1, keepdims=True)
        proposed, fine = _propose(this, jnp.take_along_axis(shape, place, axis=1))
        here = ~accepted & (jnp.arange(_GROUP) == place) & fine
        return key, jnp.where(here, proposed, found), accepted | here

    _, found, _ = jax.lax.while_loop(lambda state: ~state[2].all(), again, (rest, found, accepted))
    found = found.ravel()[: alpha.size].reshape(alpha.shape)
    return found - jax.random.exponential(power, alpha.shape, jnp.float32) / alpha


def _propose(key: jax.Array, shape: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(log of a Gamma(shape, 1) proposal, whether it is accepted), for shapes of at least 1.

    Source: Marsaglia and Tsang, "A simple method for generating gamma variables", ACM TOMS 26, 2000.
    """
    normal_key, accept_key = jax.random.split(key)
    d = shape - 1 / 3
    x = jax.random.normal(normal_key, shape.shape, jnp.float32)
    root = 1 + x / jnp.sqrt(9 * d)
    log_v = 3 * jnp.log(jnp.maximum(root, jnp.finfo(jnp.float32).tiny))
    minus_log_u = jax.random.exponential(accept_key, shape.shape, jnp.float32)
    accepted = (root > 0) & (-minus_log_u < 0.5 * x * x + d * (1 - root**3 + log_v))
    return jnp.log(d) + log_v, accepted


def _softmax(logits: jax.Array, legal: jax.Array) -> jax.Array:
    """Over the legal actions; 0 elsewhere, and everywhere where none is."""
    return jax.nn.softmax(logits, axis=-1, where=legal)


@compiled
def interval(buffers, inputs, b, n):
    """(offset, scale) that rescale the q of node n's children; scale 0 where the interval is empty."""
    node, mode = buffers.nodes[b, n], inputs.settings[MODE]
    if mode == 2.0:
        return 0.0, 1.0
    floor = float(inputs.settings[SPAN_FLOOR])
    if mode == 1.0:
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
        if not high > low:
            return low if low < np.inf else 0.0, 0.0
    else:
        low = float(buffers.values[b, n, node.to_play, SUM]) / node.visits
        high = low
        c = node.first
        while c != 0:
            q = float(buffers.nodes[b, c].q)
            low = q if q < low else low
            high = q if q > high else high
            c = buffers.nodes[b, c].sibling
        floor = floor if floor > 1e-8 else 1e-8
    span = high - low
    return low, 1.0 / (span if span > floor else floor)


@compiled
def choose(buffers, inputs, b, n):
    """Child of node n with the highest pUCT score, or 0 for its best unvisited action."""
    nodes = buffers.nodes
    node = nodes[b, n]
    if node.children == 0:
        return 0
    if node.best < 0 and node.children == 1:
        return node.first
    if node.scale < 0:
        node.scale = prior_scale(buffers, b, n)
    offset, scale = interval(buffers, inputs, b, n)
    total = node.visits - np.int32(1)
    last = np.int32(inputs.table.shape[1] - 1)
    factor = float(inputs.table[0, total if total < last else last])
    chosen, highest, action = np.int32(0), -np.inf, np.int32(-1)
    if node.best >= 0:
        if node.rest < 0:
            node.rest = exp(node.best_score - node.top) * node.scale
        highest, action = factor * node.rest, node.best
    factor *= node.scale
    c = node.first
    chosen = c if node.best < 0 else chosen
    while c != 0:
        child = nodes[b, c]
        x = (float(child.q) - offset) * scale + factor * child.weight / (1.0 + child.visits)
        if x > highest or (x == highest and child.action < action):
            chosen, highest, action = c, x, child.action
        c = child.sibling
    return chosen


@compiled
def prior_scale(buffers, b, n):
    """1 / sum of exp(logit - highest logit) over the legal actions of node n, visited or not."""
    total = sum_exp(buffers.rows[b, n], buffers.nodes[b, n].top)
    c = buffers.nodes[b, n].first
    while c != 0:
        total += buffers.nodes[b, c].weight
        c = buffers.nodes[b, c].sibling
    return np.float32(1.0) / total


@inlined
def puct_step(buffers, inputs, k, leaf):
    """`loop.step` with pUCT's choice."""
    step(choose, buffers, inputs, k, leaf)


@inlined
def puct_restart(buffers, inputs, bounds, scores, root):
    """Begin a search in a reused tree; visits from before count like those of this search."""
    for b in range(scores.shape[0]):
        enter(buffers, inputs, b, bounds, scores, root)
        select(choose, buffers, inputs, b)


@inlined
def puct_finish(buffers, inputs, noise, action, policy, value, visits, q):
    """Answers of B finished trees: the visit distribution, and an action sampled from N^(1/T), in logs."""
    nodes = buffers.nodes
    coldest = 1e-6
    temperature = float(inputs.settings[TEMPERATURE])
    temperature = temperature if temperature > coldest else coldest
    for b in range(visits.shape[0]):
        offset, _ = interval(buffers, inputs, b, 0)
        for p in range(value.shape[1]):
            value[b, p] = buffers.values[b, 0, p, SUM] / np.float32(nodes[b, 0].visits)
        for a in range(visits.shape[1]):
            visits[b, a] = 0
            policy[b, a] = 0.0
            q[b, a] = np.float32(offset)
        total = np.int32(0)
        c = nodes[b, 0].first
        while c != 0:
            child = nodes[b, c]
            total += child.visits
            visits[b, child.action] = child.visits
            q[b, child.action] = child.q
            c = child.sibling
        action[b], highest = 0, -np.inf
        for a in range(visits.shape[1]):
            if visits[b, a] > 0:
                policy[b, a] = np.float32(visits[b, a]) / np.float32(total)
                x = math.log(visits[b, a]) / temperature + noise[b, a]
                if x > highest:
                    action[b], highest = a, x
