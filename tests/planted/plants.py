"""Every trap that is known to make a MuZero program wrong in silence, and the plants that show that the suite sees it.

A plant copies the package, changes one equation of the copy, and passes only if the claims named with it fail. Where
the source has changed so that a plant no longer fits, bring the plant up to date.
"""

import traps_acting
import traps_games
import traps_learning
import traps_search
import traps_targets

TRAPS = {
    1: "value targets compare players at the wrong offset",
    2: "a value in the view of the wrong player in the tree",
    3: "root noise constant, shared, or left on",
    4: "probabilities taken as Gumbel's logits; illegal actions counted",
    5: "the root's visit counted without a value",
    6: "score or interval of V without its reward",
    7: "state of one root leaks into the next",
    8: "the first simulation ignores the prior",
    9: "raw Q where there is one distinct value",
    10: "search seeded by the clock",
    11: "illegal actions sampled, or in the policy target",
    12: "exp(N)/T in place of N^(1/T)",
    13: "exploration noise outside self-play",
    14: "the same environment seed again",
    15: "a time limit treated as terminal",
    16: "the reward target off by one",
    17: "the policy past the end trained to uniform",
    18: "the end of an episode cannot be learned",
    19: "the ends of episodes are never sampled",
    20: "bootstrap from the network where the search value is meant",
    21: "the halved gradient also reaches the heads",
    22: "the wrong scale of unrolled losses",
    23: "weight decay not applied, or applied to everything",
    24: "transforms and scalings with NaN, without their linear term, or without their digits",
    25: "0 log 0",
    26: "importance weights and stale priorities",
    27: "resume restarts something",
    28: "terminated and truncated swapped or merged",
    29: "frame skip or sticky actions applied twice",
    30: "two-hot at the edges of the support",
    31: "a terminal root, or one without a legal action",
    32: "a game's own rules not followed where they are searched",
    33: "a tree reused where it does not fit",
    34: "matches that favour someone, ratings that mislead",
    35: "resigning learned or counted wrongly",
    36: "what a person is told or shown in play is not so",
    37: "the learning rate's schedule not followed",
    38: "chance averaged over what cannot be averaged, or taken for granted",
    39: "past actions of another episode, or in another order",
    40: "a board is turned, and not all that goes with it",
    41: "a batch divided over devices is not learned from as a whole",
}

# What of a trap cannot be planted, and why.
ABSENT = {
    8: "a root of √ΣN = 0: where nothing is visited, the best prior is taken before any score is computed",
    29: "frame skip and sticky actions in a wrapper: Muzen wraps neither, the environment's own id says what it does",
}

FILES = (traps_search, traps_acting, traps_targets, traps_learning, traps_games)
PLANTS = [plant for file in FILES for plant in file.PLANTS]
