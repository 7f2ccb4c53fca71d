"""A search grown again from its finished tree, slowly, in float64, and from the papers' formulas alone."""

import numpy as np

from muzen.search import Puct
from muzen.search.gumbel import considered_visits
from muzen.search.tree import RAW, REWARD, records


def softmax(logits):
    e = np.exp(logits - logits.max())
    return e / e.sum()


class Regrown:
    """One root's tree as it stood when it had `size` nodes; every node must be a simulation of its own.

    What the model said (logits [N, A], `raw` values and rewards [N, P], discounts) is read from the tree; visits,
    `q` = r + γV [N, P] and the interval of each player are computed anew.
    """

    def __init__(self, tree, root, rule):
        nodes, values = records(tree)[root], np.asarray(tree.values[root], np.float64)
        self.rule, self.simulations = rule, len(nodes) - 1
        self.parent, self.action, self.to_play = nodes["parent"], nodes["action"], nodes["to_play"]
        self.discount, self.reward, self.raw = nodes["discount"].astype(float), values[..., REWARD], values[..., RAW]
        self.logits = np.array(tree.rows[root], np.float64)
        for n in range(1, len(nodes)):
            self.logits[self.parent[n], self.action[n]] = nodes["score"][n]
        low, high = (np.inf, -np.inf) if rule.bounds is None else rule.bounds
        self.low, self.high = np.full(self.raw.shape[1], low), np.full(self.raw.shape[1], high)
        self.visits, self.total, self.q = np.zeros(len(nodes), int), np.zeros(self.raw.shape), np.zeros(self.raw.shape)
        self.visits[0], self.total[0], self.size = 1, self.raw[0], 1

    def grow(self, size):
        """Add nodes, and back each of them up, until there are `size`."""
        for leaf in range(self.size, size):
            n, gain = leaf, self.raw[leaf]
            while n != 0:
                self.visits[n] += 1
                self.total[n] += gain
                self.q[n] = self.reward[n] + self.discount[n] * self.total[n] / self.visits[n]
                self.low, self.high = np.minimum(self.low, self.q[n]), np.maximum(self.high, self.q[n])
                gain = self.reward[n] + self.discount[n] * gain
                n = self.parent[n]
            self.visits[0] += 1
            self.total[0] += gain
        self.size = size
        return self

    def choices(self, node):
        """(node, action) from the root down to the edge that `node` was added at."""
        path = []
        while node != 0:
            path.append((self.parent[node], self.action[node]))
            node = self.parent[node]
        return path[::-1]

    def scores(self, n):
        """[A] what the rule compares at node n; -inf where an action is illegal or not considered."""
        below = np.flatnonzero(self.parent[1 : self.size] == n) + 1
        visits, q = np.zeros(self.logits.shape[1]), np.zeros(self.logits.shape[1])
        visits[self.action[below]], q[self.action[below]] = self.visits[below], self.q[below, self.to_play[n]]
        score = self._puct if isinstance(self.rule, Puct) else self._gumbel
        return np.where(self.logits[n] > -np.inf, score(n, visits, q), -np.inf)

    def _puct(self, n, visits, q):
        """r + γV rescaled to [0, 1], plus P √max(1, ΣN) / (1 + N) (c1 + log((ΣN + c2 + 1) / c2))."""
        own = self.total[n, self.to_play[n]] / self.visits[n]
        q = np.where(visits > 0, self._rescaled(n, q, [own, *q[visits > 0]]), 0)
        total = visits.sum() + (self.rule.normalise == "node")
        factor = np.sqrt(max(1, total)) * (self.rule.c1 + np.log((total + self.rule.c2 + 1) / self.rule.c2))
        return q + factor * softmax(self.logits[n]) / (1 + visits)

    def _gumbel(self, n, visits, q):
        """π' - N / (1 + ΣN) with π' = softmax(logits + σ(completed q)); at the root logits + σ of the considered."""
        visited, prior, total = visits > 0, softmax(self.logits[n]), visits.sum()
        mixed = self.raw[n, self.to_play[n]]
        if total > 0:
            mixed = (mixed + total * (prior @ q) / prior[visited].sum()) / (1 + total)
        completed = np.where(visited, q, mixed)
        sigma = (self.rule.c_visit + visits.max()) * self.rule.c_scale * self._rescaled(n, completed, completed)
        if n != 0:
            return softmax(self.logits[n] + sigma) - visits / (1 + total)
        legal = int((self.logits[0] > -np.inf).sum())
        considered = considered_visits(min(self.rule.max_considered, legal), self.simulations)[int(total)]
        return np.where(visits == considered, self.logits[0] + sigma, -np.inf)

    def _rescaled(self, n, q, own):
        """q by the interval that `normalise` names: of the tree, for the player who moves, or of the node's own."""
        if self.rule.normalise == "none":
            return q
        player, tree = self.to_play[n], self.rule.normalise == "tree"
        low, high = (self.low[player], self.high[player]) if tree else (min(own), max(own))
        if not high > low:
            return np.zeros(len(q))
        return (np.clip(q, low, high) - low) / max(high - low, self.rule.span_floor, 0 if tree else 1e-8)
