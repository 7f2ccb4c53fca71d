"""One simulation: expand the pending leaf, back its value up, walk down to the next leaf.

Both execution paths run these kernels, so both give the same visits. A rule is a function
`choose(buffers, inputs, b, node) -> child`, 0 meaning "expand the best unvisited action".
"""

from __future__ import annotations

import numpy as np

from muzen.search.tree import (
    ACTION,
    LEAF,
    MAX_DEPTH,
    PARENT,
    RAW,
    REWARD,
    SUM,
    attach,
    clear_leaf,
    compiled,
    fill_row,
    find_best,
    inlined,
    root_weight,
    write_node,
)


@compiled
def write_root(buffers, b, bounds, scores, root):
    """Write root b with nothing below it."""
    write_node(
        buffers, b, 0, root.to_play[b], root.discount[b], root.reward[b], root.value[b], scores[b], root.legal[b]
    )
    for p in range(buffers.values.shape[2]):
        buffers.interval[b, p, 0] = bounds[0]
        buffers.interval[b, p, 1] = bounds[1]


@inlined
def start(buffers, bounds, scores, root):
    """Write B roots and choose their first edge: with nothing visited, every rule follows the score."""
    for b in range(scores.shape[0]):
        write_root(buffers, b, bounds, scores, root)
        best = buffers.nodes[b, 0].best
        buffers.pending[b, PARENT] = 0
        buffers.pending[b, ACTION] = best if best >= 0 else 0
        buffers.pending[b, LEAF] = -1 if best >= 0 else 0


@compiled
def backup(buffers, b, leaf):
    """Add the leaf's own network value to every node from it to the root, for each player.

    G_leaf = v(leaf);  G_parent = r + γ G_child;  V = mean of G over visits. No sign is flipped: each player
    has an entry, and a node's q is the entry of whoever moves at its parent. The interval of each player's
    r + γV grows with every node on the way (MuZero, arXiv:1911.08265, appendix B).
    """
    nodes, values, interval = buffers.nodes, buffers.values, buffers.interval
    n = leaf
    nodes[b, n].visits += 1
    while n != 0:
        n = nodes[b, n].parent
        nodes[b, n].visits += 1
    for p in range(values.shape[2]):
        n = leaf
        low, high = interval[b, p, 0], interval[b, p, 1]
        g = values[b, n, p, RAW]
        while n != 0:
            node = nodes[b, n]
            values[b, n, p, SUM] += g
            reward = values[b, n, p, REWARD]
            q = reward + node.discount * (values[b, n, p, SUM] / np.float32(node.visits))
            low = q if q < low else low
            high = q if q > high else high
            if nodes[b, node.parent].to_play == p:
                node.q = q
            g = reward + node.discount * g
            n = node.parent
        values[b, 0, p, SUM] += g
        interval[b, p, 0] = low
        interval[b, p, 1] = high


@inlined
def select(choose, buffers, inputs, b):
    """Walk from the root by `choose` to an edge without a node, or to a leaf where the walk must end.

    It ends at the depth limit, where the episode ended (a terminal state is absorbing: whatever lies below
    adds nothing), and where no action is legal; such a leaf is visited again with the value it has.
    """
    nodes, pending = buffers.nodes, buffers.pending
    limit = np.int32(inputs.settings[MAX_DEPTH])
    n, depth = np.int32(0), np.int32(0)
    while True:
        child = np.int32(choose(buffers, inputs, b, n))
        if child == 0:
            break
        n = child
        depth += np.int32(1)
        node = nodes[b, n]
        if depth == limit or node.discount == 0 or (node.best < 0 and node.children == 0):
            pending[b, PARENT] = node.parent
            pending[b, ACTION] = node.action
            pending[b, LEAF] = n
            return
    best = nodes[b, n].best
    pending[b, PARENT] = n
    pending[b, ACTION] = best if best >= 0 else 0
    pending[b, LEAF] = -1 if best >= 0 else 0


@compiled
def enter(buffers, inputs, b, bounds, scores, root):
    """Root b of a reused tree gets the scores of this search, noise included; one that kept nothing begins afresh."""
    nodes = buffers.nodes
    if nodes[b, 0].visits == 0:
        write_root(buffers, b, bounds, scores, root)
        return
    for p in range(buffers.values.shape[2]):
        low, high = buffers.interval[b, p, 0], buffers.interval[b, p, 1]
        buffers.interval[b, p, 0] = bounds[0] if bounds[0] < low else low
        buffers.interval[b, p, 1] = bounds[1] if bounds[1] > high else high
    fill_row(buffers, b, 0, scores[b], root.legal[b])
    row = buffers.rows[b, 0]
    c = nodes[b, 0].first
    while c != 0:
        child = nodes[b, c]
        child.score = row[child.action]
        child.weight = root_weight(inputs.logits, b, child.action)
        row[child.action] = np.float32(-np.inf)
        c = child.sibling
    best, score = find_best(row)
    nodes[b, 0].best = best
    nodes[b, 0].best_score = score
    nodes[b, 0].rest = -1.0
    nodes[b, 0].scale = -1.0


@inlined
def step(choose, buffers, inputs, k, leaf):
    """Finish simulation k (1..simulations) with the network's answer, and choose the edge of the next one."""
    for b in range(buffers.pending.shape[0]):
        at = buffers.pending[b, LEAF]
        if at < 0:
            write_node(
                buffers,
                b,
                k,
                leaf.to_play[b],
                leaf.discount[b],
                leaf.reward[b],
                leaf.value[b],
                leaf.policy_logits[b],
                leaf.legal[b],
            )
            attach(buffers, b, buffers.pending[b, PARENT], buffers.pending[b, ACTION], k, inputs.logits)
            # The backup counts the first visit.
            buffers.nodes[b, k].visits = 0
            for p in range(buffers.values.shape[2]):
                buffers.values[b, k, p, SUM] = 0
            at = k
        else:
            clear_leaf(buffers, b, k)
        backup(buffers, b, at)
        if k + 1 < buffers.nodes.shape[1]:
            select(choose, buffers, inputs, b)
