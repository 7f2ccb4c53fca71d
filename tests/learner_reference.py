"""The loss as plainly as Python can say it: one sequence after another, one step after another, in float64.

The network is small and its functions stand twice: in JAX for the learner, and in NumPy beside it.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from replay_reference import end_of, lambda_target

OBSERVED, WIDTH, ACTIONS = 3, 4, 3
TERMS = ("policy", "value", "reward", "discount", "consistency", "reconstruction")


class Tiny(eqx.Module):
    """Every function that a network may have, one layer each; `weights` by name."""

    weights: dict
    views: int = eqx.field(static=True)  # values and rewards per state

    def representation(self, observation):
        return jnp.tanh(observation @ self.weights["represent"])

    def dynamics(self, state, action):
        return jnp.tanh(state @ self.weights["move"] + self.weights["action"][action])

    def policy(self, state):
        return state @ self.weights["policy"] + self.weights["policy_bias"]

    def value(self, state):
        return self._split(state @ self.weights["value"] + self.weights["value_bias"])

    def reward(self, state):
        return self._split(state @ self.weights["reward"] + self.weights["reward_bias"])

    def continues(self, state):
        return state @ self.weights["continues"] + self.weights["continues_bias"]

    def project(self, state):
        return state @ self.weights["project"]

    def predict(self, projected):
        return jnp.tanh(projected @ self.weights["predict"])

    def reconstruct(self, state):
        return state @ self.weights["reconstruct"]

    def _split(self, logits):
        return logits if self.views == 1 else logits.reshape(len(logits), self.views, -1)


def random_weights(seed, views, bins):
    """Weights of `Tiny`, float64, none of them at a special point."""
    rng = np.random.default_rng(seed)
    shapes = {
        "represent": (OBSERVED, WIDTH),
        "move": (WIDTH, WIDTH),
        "action": (ACTIONS, WIDTH),
        "policy": (WIDTH, ACTIONS),
        "policy_bias": (ACTIONS,),
        "value": (WIDTH, views * bins),
        "value_bias": (views * bins,),
        "reward": (WIDTH, views * bins),
        "reward_bias": (views * bins,),
        "continues": (WIDTH,),
        "continues_bias": (),
        "project": (WIDTH, WIDTH),
        "predict": (WIDTH, WIDTH),
        "reconstruct": (WIDTH, OBSERVED),
    }
    return {name: np.asarray(rng.normal(size=shape)) for name, shape in shapes.items()}


def h(x):
    return np.sign(x) * (np.sqrt(abs(x) + 1) - 1) + 0.001 * x


def h_inverse(y):
    return np.sign(y) * (((np.sqrt(1 + 4 * 0.001 * (abs(y) + 1 + 0.001)) - 1) / (2 * 0.001)) ** 2 - 1)


def two_hot(x, limit, bins):
    """x as weights of the two bins beside h(x), of bins that lie evenly from h(-limit) to h(limit)."""
    place = (h(np.clip(x, -limit, limit)) / h(limit) + 1) / 2 * (bins - 1)
    low = min(int(np.floor(place)), bins - 2)
    out = np.zeros(bins)
    out[low], out[low + 1] = low + 1 - place, place - low
    return out


def decoded(logits, limit):
    """The number whose expected bin the logits give."""
    return h_inverse(softmax(logits) @ np.linspace(-1, 1, len(logits)) * h(limit))


def softmax(x):
    power = np.exp(x - x.max())
    return power / power.sum()


def cross_entropy(target, logits):
    return -sum(p * np.log(q) for p, q in zip(target, softmax(logits), strict=True) if p > 0)


def value_logits(weights, state, views):
    return (state @ weights["value"] + weights["value_bias"]).reshape(views, -1)


def own(numbers, player):
    """What a network says of numbers per player: of two, the player's own."""
    return numbers[player : player + 1] if len(numbers) == 2 else numbers


def network_value(weights, row, limit, players):
    """[P] value of one row's observation."""
    said = value_logits(weights, np.tanh(row.observation @ weights["represent"]), 1 if players < 3 else players)
    numbers = np.array([decoded(x, limit) for x in said])
    if players == 2:
        return np.array([numbers[0], -numbers[0]] if row.to_play == 0 else [-numbers[0], numbers[0]])
    return numbers


class Sequence:
    """One sampled sequence: where it starts in its lane, and the actions that were unrolled."""

    def __init__(self, lane, start, action, weight):
        self.lane, self.start, self.action, self.weight = lane, start, action, weight
        self.last = end_of(lane, start)
        self.terminated = lane[self.last].final and lane[self.last - 1].terminated
        # Steps that are trained: those that happened, or all where nothing can happen any more.
        self.steps = len(action) if self.terminated else min(len(action), self.last - start)

    def row(self, k):
        return self.lane[min(self.start + k, self.last)]


def unrolled(weights, sequence, around=None):
    """States of the root and of the steps after it.

    Half of a state enters the next step as it is in `around`, the states at other weights: of those, the gradient
    of what follows is zero, so all in all it is halved.
    """
    state = np.tanh(sequence.row(0).observation @ weights["represent"])
    states = [state]
    for k, action in enumerate(sequence.action):
        entering = state if around is None else 0.5 * state + 0.5 * around[k]
        state = np.tanh(entering @ weights["move"] + weights["action"][action])
        states.append(state)
    return states


def terms(weights, sequence, targets, config, limit, bins, fixed=None):
    """The losses of one sequence, each step scaled.

    Args:
      targets: [P] z of each step, None where there is none to train on.
      fixed: weights in which what takes no gradient is computed: half of each entering state, and the real
        states of the consistency loss; None: `weights`.
    """
    players = len(sequence.row(0).reward)
    views = 1 if players < 3 else players
    fixed = weights if fixed is None else fixed
    states = unrolled(weights, sequence, unrolled(fixed, sequence))
    out = dict.fromkeys(TERMS, 0.0)
    for k, state in enumerate(states):
        row, real = sequence.row(k), sequence.start + k < sequence.last
        scale = 1.0 if k == 0 else 1.0 / max(sequence.steps, 1)
        scale = scale if k <= sequence.steps else 0.0
        if real and row.policy.sum() > 0:
            out["policy"] += scale * cross_entropy(row.policy, state @ weights["policy"] + weights["policy_bias"])
        if targets[k] is not None:
            for z, logits in zip(own(targets[k], row.to_play), value_logits(weights, state, views), strict=True):
                out["value"] += scale * cross_entropy(two_hot(z, limit, bins), logits)
        if k == 0 or k > sequence.steps:
            continue
        before = sequence.row(k - 1)
        happened = sequence.start + k - 1 < sequence.last
        reward = before.reward if happened else np.zeros(players)
        said = (state @ weights["reward"] + weights["reward_bias"]).reshape(views, -1)
        for r, logits in zip(own(reward, before.to_play), said, strict=True):
            out["reward"] += scale * cross_entropy(two_hot(r, limit, bins), logits)
        if config.learn_discount:
            over = not happened or before.terminated
            goes_on = 1 / (1 + np.exp(-(state @ weights["continues"] + weights["continues_bias"])))
            out["discount"] += -scale * np.log(1 - goes_on if over else goes_on)
        if config.consistency_weight > 0 and sequence.start + k <= sequence.last:
            guess = np.tanh(state @ weights["project"] @ weights["predict"])
            seen = np.tanh(row.observation @ fixed["represent"]) @ fixed["project"]
            out["consistency"] += -scale * guess @ seen / np.linalg.norm(guess) / np.linalg.norm(seen)
        if config.reconstruction_weight > 0 and sequence.start + k <= sequence.last:
            said = 1 / (1 + np.exp(-state @ weights["reconstruct"]))
            seen = np.clip(row.observation, 0, 1)
            out["reconstruction"] += -scale * (seen * np.log(said) + (1 - seen) * np.log(1 - said)).sum()
    return out


def value_targets(sequence, config, target_weights, limit):
    """z of each step, 0 after a termination, None where there is none to train on."""

    def bootstrap(row):
        if config.bootstrap == "search":
            return row.value
        return network_value(target_weights, row, limit, len(row.reward))

    targets = []
    for k in range(len(sequence.action) + 1):
        t = sequence.start + k
        if t < sequence.last:
            settings = config.n_step, config.discount, config.td_lambda, config.correct_off_policy
            targets.append(lambda_target(sequence.lane, sequence.start, t, *settings, bootstrap))
        else:
            targets.append(np.zeros(len(sequence.row(k).reward)) if sequence.terminated else None)
    return targets


def loss(weights, target_weights, sequences, config, limit, bins, fixed=None):
    """The mean of each loss over sequences, as they weigh."""
    total = dict.fromkeys(TERMS, 0.0)
    for sequence in sequences:
        targets = value_targets(sequence, config, target_weights, limit)
        for name, x in terms(weights, sequence, targets, config, limit, bins, fixed).items():
            total[name] += sequence.weight * x / len(sequences)
    return total


def facts(weights, target_weights, sequences, config, limit):
    """What the learner reports of the roots of a batch: the prediction v beside its target z, and two policies.

    A root whose target nobody knows counts in none of it but v, and has the mean priority of the others.
    """
    said, meant, policies, targets = [], [], [], []
    for sequence in sequences:
        row = sequence.row(0)
        views = 1 if len(row.reward) < 3 else len(row.reward)
        state = np.tanh(row.observation @ weights["represent"])
        said.append([decoded(x, limit) for x in value_logits(weights, state, views)])
        z = value_targets(sequence, config, target_weights, limit)[0]
        meant.append([np.nan] * len(said[-1]) if z is None else own(z, row.to_play))
        policies.append(softmax(state @ weights["policy"] + weights["policy_bias"]))
        targets.append(row.policy)
    said, meant = np.array(said), np.array(meant)
    known = ~np.isnan(meant[:, 0])
    v, z = said[known], meant[known]
    priority = np.full(len(said), np.abs(v - z).sum(1).mean() if known.any() else 0.0)
    priority[known] = np.abs(v - z).sum(1)

    def entropy(rows):
        """Mean entropy, 1 of uniform policies."""
        each = [-sum(p * np.log(p) for p in row if p > 0) for row in rows]
        return np.mean(each) / np.log(len(rows[0]))

    return {
        "priority": priority,
        "value_mean": said.mean(),
        "value_target_mean": z.mean() if known.any() else 0.0,
        "value_spread": max(np.quantile(x, 0.95) - np.quantile(x, 0.05) for x in z.T) if known.any() else 0.0,
        "value_explained": 0.0 if not known.any() else 1 - np.var(v - z) / np.var(z) if np.var(z) > 1e-9 else None,
        "policy_entropy": entropy(policies),
        "target_entropy": entropy(targets),
    }


def as_jax(weights):
    return jax.tree.map(jnp.asarray, weights)
