"""Gumbel MuZero: sequential halving at the root, an improved policy inside the tree.

Source: Danihelka et al., "Policy improvement by planning with Gumbel", ICLR 2022.
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
from muzen.search.tree import C_SCALE, C_VISIT, MODE, RAW, SPAN_FLOOR, SUM, compiled, exp, inlined, sum_exp


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Gumbel:
    """Gumbel MuZero's rule. Numbers may be traced arrays; changing them compiles nothing again.

    Attributes:
      max_considered: m, root actions that sequential halving starts with, at most.
      c_visit: visits added to the largest count in σ(q) = (c_visit + max N) c_scale q.
      c_scale: scale of σ(q); 0.1 with q rescaled to [0, 1], 1 with raw q in [-1, 1].
      normalise: "node" rescales q to [0, 1] by the node's own values, v_mix included (mctx's convention);
        "tree" by the interval of the whole tree, per player; "none" leaves it.
      span_floor: smallest interval that q is rescaled by, in units of value.
      bounds: known (lowest, highest) r + γV, which seeds the tree's interval; only with normalise="tree".
    """

    max_considered: int = field(default=16, metadata={"static": True})
    c_visit: Any = 50.0
    c_scale: Any = 0.1
    normalise: Literal["node", "tree", "none"] = field(default="tree", metadata={"static": True})
    span_floor: Any = 0.0
    bounds: Any = None

    def __post_init__(self) -> None:
        rules.check_count("Gumbel.max_considered", self.max_considered)
        rules.check_common("Gumbel", self.normalise, self.span_floor, self.bounds)
        rules.check_at_least("Gumbel.c_visit", self.c_visit, 0)
        rules.check_at_least("Gumbel.c_scale", self.c_scale, 0)


def considered_visits(considered: int, simulations: int) -> list[int]:
    """Sequential halving as the visit count that the action of each simulation must have so far.

    Each of m_phase actions gets max(1, floor(n / (ceil(log2 m) m_phase))) simulations a phase; then m_phase
    becomes max(2, floor(m_phase / 2)). The last phase is cut short where the budget ends.
    """
    if considered <= 1:
        return list(range(simulations))
    phases = math.ceil(math.log2(considered))
    sequence: list[int] = []
    visits, left = 0, considered
    while len(sequence) < simulations:
        for _ in range(max(1, simulations // (phases * left))):
            sequence += [visits] * left
            visits += 1
        left = max(2, left // 2)
    return sequence[:simulations]


def table(rule: Gumbel, simulations: int, kept: int = 0) -> np.ndarray:
    """[m + 1, simulations] float32 (exact integers): row i is `considered_visits(i, simulations)`."""
    return np.array([considered_visits(m, simulations) for m in range(rule.max_considered + 1)], np.float32)


def root_noise(rule: Gumbel, key: jax.Array, logits: jax.Array, legal: jax.Array, explore: Any):
    """(logits, scores, action noise): Gumbel noise for each root and action times `explore`, 0 where not exploring."""
    noise = rules.gumbel(key, logits) * rules.per_root(explore)
    return logits, logits + noise, jnp.zeros_like(logits)


@compiled
def scaled_q(buffers, inputs, b, n):
    """What completes and scales the values of node n, in the view of its player.

    v_mix = (v + ΣN Σ_visited π q / Σ_visited π) / (1 + ΣN) stands in for unvisited actions.

    Returns:
      (ΣN, max N, v_mix, offset, s) with σ(q) = s (q - offset), and σ(v_mix).
    """
    nodes, settings = buffers.nodes, inputs.settings
    node = nodes[b, n]
    total, most = np.int32(0), np.int32(0)
    low, high = np.inf, -np.inf
    weights, weighted = 0.0, 0.0
    c = node.first
    while c != 0:
        child = nodes[b, c]
        q, w = float(child.q), float(child.weight)
        total += child.visits
        most = child.visits if child.visits > most else most
        low = q if q < low else low
        high = q if q > high else high
        weights += w
        weighted += w * q
        c = child.sibling
    raw = float(buffers.values[b, n, node.to_play, RAW])
    mixed = (raw + total * (weighted / weights)) / (1.0 + total) if total > 0 else raw
    s = (float(settings[C_VISIT]) + most) * float(settings[C_SCALE])
    mode = settings[MODE]
    if mode == 2.0:
        return total, most, mixed, 0.0, s, s * mixed
    floor = float(settings[SPAN_FLOOR])
    bounded = mixed
    if mode == 0.0:
        # mctx's convention: the filled value takes part wherever any action, legal or not, is unvisited.
        if node.children < buffers.rows.shape[2]:
            low = mixed if mixed < low else low
            high = mixed if mixed > high else high
        floor = floor if floor > 1e-8 else 1e-8
    else:
        low = float(buffers.interval[b, node.to_play, 0])
        high = float(buffers.interval[b, node.to_play, 1])
        if not high > low:
            return total, most, mixed, 0.0, 0.0, 0.0
        # Only r + γV of nodes widen the interval; v_mix also holds network values and may lie outside.
        bounded = low if bounded < low else (high if bounded > high else bounded)
    span = high - low
    s /= span if span > floor else floor
    return total, most, mixed, low, s, s * (bounded - low)


@compiled
def choose_root(buffers, inputs, b):
    """Highest g + logit + σ(q) among the actions that sequential halving considers now."""
    nodes = buffers.nodes
    root = nodes[b, 0]
    if root.children == 0:
        return 0
    total, kept, m = np.int32(0), np.int32(0), np.int32(root.children)
    c = root.first
    while c != 0:
        total += fresh_visits(nodes[b, c])
        kept += nodes[b, c].visits
        c = nodes[b, c].sibling
    kept -= total
    row = buffers.rows[b, 0]
    limit = np.int32(inputs.table.shape[0] - 1)
    if m < limit:
        for a in range(row.shape[0]):
            m += np.int32(1) if row[a] > -np.inf else np.int32(0)
    m = m if m < limit else limit
    if total >= inputs.table.shape[1]:
        return 0
    considered = np.int32(inputs.table[m, total])
    untried = considered == 0 and root.best >= 0
    if untried and kept == 0:
        return 0
    _, _, _, offset, s, unvisited = scaled_q(buffers, inputs, b, 0)
    chosen = best_child(nodes, b, root.first, considered, offset, s)
    if untried:
        # In a reused tree an action that has visits from before competes with those that have none.
        child = nodes[b, chosen]
        beaten = float(child.score) + s * (float(child.q) - offset) < float(root.best_score) + unvisited
        if fresh_visits(child) != 0 or beaten:
            return 0
    return chosen


@compiled
def fresh_visits(child):
    """Visits of a root's child in this search, without those of a reused tree."""
    return child.visits - (np.int32(child.scale) if child.scale > 0 else np.int32(0))


@compiled
def best_child(nodes, b, first, considered, offset, s):
    """Root's child with the best score + σ(q) among those visited `considered` times in this search, or the first."""
    chosen, highest, action = first, -np.inf, np.int32(2147483647)
    c = first
    while c != 0:
        child = nodes[b, c]
        if fresh_visits(child) == considered:
            x = float(child.score) + s * (float(child.q) - offset)
            if x > highest or (x == highest and child.action < action):
                chosen, highest, action = c, x, child.action
        c = child.sibling
    return chosen


@compiled
def choose_of_two(buffers, inputs, b, n):
    """`choose_interior` between two candidates, the most frequent case, without loops.

    The newest child, and its sibling or, where there is none, the best unvisited action.
    """
    settings = inputs.settings
    node = buffers.nodes[b, n]
    child = buffers.nodes[b, node.first]
    q, visits = float(child.q), float(child.visits)
    if child.sibling != 0:
        other = buffers.nodes[b, child.sibling]
        other_q, other_visits, other_mass = float(other.q), float(other.visits), 1.0
        other_score, other_action = float(other.score), other.action
    else:
        raw = float(buffers.values[b, n, node.to_play, RAW])
        other_q, other_visits, other_mass = (raw + visits * q) / (1.0 + visits), 0.0, float(node.rest)
        other_score, other_action = float(node.best_score), node.best
    most = visits if visits > other_visits else other_visits
    s = (float(settings[C_VISIT]) + most) * float(settings[C_SCALE])
    mode = settings[MODE]
    if mode != 2.0:
        low, high = (q, other_q) if q < other_q else (other_q, q)
        floor = float(settings[SPAN_FLOOR])
        if mode == 0.0:
            floor = floor if floor > 1e-8 else 1e-8
        else:
            low = float(buffers.interval[b, node.to_play, 0])
            high = float(buffers.interval[b, node.to_play, 1])
            other_q = low if other_q < low else (high if other_q > high else other_q)
        span = high - low
        s = s / (span if span > floor else floor) if high > low else 0.0
    # One softmax term is 1; the other is exp of minus their distance.
    difference = float(child.score) - other_score + s * (q - other_q)
    e = float(exp(np.float32(-abs(difference))))
    child_e, other_e = (1.0, e) if difference >= 0 else (e, 1.0)
    mass = child_e + other_e * other_mass
    gain = (child_e - other_e) * (1.0 + visits + other_visits) - (visits - other_visits) * mass
    return node.first if gain > 0 or (gain == 0 and child.action < other_action) else child.sibling


@compiled
def choose_interior(buffers, inputs, b, n):
    """argmax π'(a) - N(a) / (1 + ΣN) with π' = softmax(logits + σ(completed q))."""
    nodes = buffers.nodes
    node = nodes[b, n]
    if node.children == 0:
        return 0
    if node.best < 0 and node.children == 1:
        return node.first
    if node.best >= 0 and node.rest < 0:
        node.rest = sum_exp(buffers.rows[b, n], node.best_score)
    # With two visited and none left, v_mix takes no part; but mctx's convention lets it where an action is illegal.
    full = node.children == buffers.rows.shape[2] or (node.best < 0 and inputs.settings[MODE] != 0.0)
    if node.children == 1 or (node.children == 2 and full):
        return choose_of_two(buffers, inputs, b, n)
    total, _, _, offset, s, unvisited = scaled_q(buffers, inputs, b, n)
    highest = float(node.best_score) + unvisited if node.best >= 0 else -np.inf
    best_x = highest
    c = node.first
    while c != 0:
        x = float(nodes[b, c].score) + s * (float(nodes[b, c].q) - offset)
        highest = x if x > highest else highest
        c = nodes[b, c].sibling
    best_e, mass = 0.0, 0.0
    if node.best >= 0:
        best_e = float(exp(np.float32(best_x - highest)))
        mass = best_e * node.rest
    c = node.first
    while c != 0:
        child = nodes[b, c]
        child.scale = exp(np.float32(float(child.score) + s * (float(child.q) - offset) - highest))
        mass += float(child.scale)
        c = child.sibling
    # π'(a) - N(a) / (1 + ΣN), times (1 + ΣN) and the softmax's denominator.
    chosen, action = 0, node.best
    highest = best_e * (1.0 + total) if node.best >= 0 else -np.inf
    c = node.first
    while c != 0:
        child = nodes[b, c]
        x = float(child.scale) * (1.0 + total) - child.visits * mass
        if x > highest or (x == highest and child.action < action):
            chosen, highest, action = c, x, child.action
        c = child.sibling
    return chosen


@inlined
def choose(buffers, inputs, b, n):
    """Child of node n to walk to, or 0 for its best unvisited action."""
    return choose_root(buffers, inputs, b) if n == 0 else choose_interior(buffers, inputs, b, n)


@inlined
def gumbel_step(buffers, inputs, k, leaf):
    """`loop.step` with Gumbel MuZero's choice."""
    step(choose, buffers, inputs, k, leaf)


@inlined
def gumbel_restart(buffers, inputs, bounds, scores, root):
    """Begin a search in a reused tree; sequential halving counts the visits of this search only."""
    for b in range(scores.shape[0]):
        enter(buffers, inputs, b, bounds, scores, root)
        c = buffers.nodes[b, 0].first
        while c != 0:
            buffers.nodes[b, c].scale = np.float32(buffers.nodes[b, c].visits)
            c = buffers.nodes[b, c].sibling
        select(choose, buffers, inputs, b)


@inlined
def gumbel_finish(buffers, inputs, noise, action, policy, value, visits, q):
    """Answers of B finished trees: action among the most visited, policy softmax(logits + σ(completed q))."""
    nodes = buffers.nodes
    for b in range(visits.shape[0]):
        _, _, mixed, offset, s, unvisited = scaled_q(buffers, inputs, b, 0)
        most = np.int32(0)
        for p in range(value.shape[1]):
            value[b, p] = buffers.values[b, 0, p, SUM] / np.float32(nodes[b, 0].visits)
        for a in range(visits.shape[1]):
            visits[b, a] = 0
            q[b, a] = np.float32(mixed)
            policy[b, a] = np.float32(float(inputs.logits[b, a]) + unvisited)
        c = nodes[b, 0].first
        while c != 0:
            child = nodes[b, c]
            visits[b, child.action] = child.visits
            most = max(most, fresh_visits(child))
            q[b, child.action] = child.q
            x = float(inputs.logits[b, child.action]) + s * (float(child.q) - offset)
            policy[b, child.action] = np.float32(x)
            c = child.sibling
        softmax(policy[b])
        best = best_child(nodes, b, nodes[b, 0].first, most, offset, s)
        action[b] = nodes[b, best].action if best != 0 else 0


@compiled
def softmax(row):
    """In place; 0 where -inf, and everywhere if nothing is finite."""
    top = np.float32(-np.inf)
    for a in range(row.shape[0]):
        top = row[a] if row[a] > top else top
    if top == np.float32(-np.inf):
        row[:] = np.float32(0.0)
        return
    total = 0.0
    for a in range(row.shape[0]):
        row[a] = exp(row[a] - top)
        total += float(row[a])
    for a in range(row.shape[0]):
        row[a] = np.float32(float(row[a]) / total)
