"""`search`: plan from B roots with a model, eagerly, under jit, or inside scan."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, PartitionSpec

from muzen.errors import SearchError
from muzen.search import gumbel, host, puct, rules, xla
from muzen.search.gumbel import Gumbel
from muzen.search.puct import Puct
from muzen.search.reuse import check_tree, grafted
from muzen.search.tree import MODES, Tree, records
from muzen.static import Static, split
from muzen.types import Array, HostModel, Model, Prediction, SearchResult

_log = logging.getLogger("muzen.search")
_RULES: dict[type, Any] = {Gumbel: gumbel, Puct: puct}
_LOWEST_LOGIT = -1e30  # below any logit of use, and finite: -inf says "illegal"
_announced: set[str] = set()


class Prepared(NamedTuple):
    """A search's arrays before its first simulation, the same on both paths."""

    settings: Array
    table: Array
    logits: Array  # [B, A] root logits, highest 0, illegal -inf
    scores: Array  # [B, A] what the first simulation follows: logits with the rule's noise
    noise: Array  # [B, A] to sample the action with
    bounds: Array  # [2]


def search(
    model: Model | HostModel,
    root: Prediction,
    key: Array,
    *,
    simulations: int,
    rule: Gumbel | Puct = Gumbel(),  # noqa: B008 - frozen
    explore: bool | float | Array = False,
    temperature: float | Array = 1.0,
    path: Literal["auto", "xla", "host"] = "auto",
    max_depth: int | None = None,
    tree: Tree | None = None,
    mesh: Mesh | None = None,
) -> SearchResult:
    """Search B trees of `simulations` nodes below `root` with a learned model, or with rules of your own in Python.

    One key gives one result; noise is fresh for every root and every key. Works eagerly (it jits itself), under
    `jax.jit` and in `jax.lax.scan`; the host path only eagerly. A state with discount 0 is absorbing, and an
    illegal action is never visited, at any depth where the model gives a mask.

    Args:
      model: has `recurrent(state, action [B] int32) -> Prediction`; any pytree, or any hashable object. Or a
        `muzen.types.HostModel`: it has `expand(state, action)` in place of it, answers in Python, and is searched on
        the host path.
      root: `Prediction` of the B roots: value [B, P], policy_logits and legal [B, A], to_play [B], state.
      key: a JAX random key for all roots, or [B] keys, one for each: a root given the same key again gets the same
        noise, whatever else is in the batch.
      simulations: network evaluations per root, at least 1.
      rule: `Gumbel(...)` or `Puct(...)`.
      explore: add the rule's noise and sample the action (self-play); False is greedy and uses no noise. A
        number, or one for each root [B], scales the noise that the action is sampled with: the action is then
        drawn from the improved policy at that temperature. May be traced.
      temperature: pUCT's action is sampled from N^(1/temperature) when exploring; 0 takes the most visited.
      path: "xla" runs the tree inside the XLA program (CPU), "host" from a Python loop; "auto" takes "xla"
        where a self-test passes. Both give the same visits.
      max_depth: longest path from the root, in actions; None is no limit.
      tree: `reuse(previous.tree, action)`, to go on with what an earlier search found below the move made; on the
        host path, eagerly. The visits that it kept come on top of `simulations`, and a root that it kept is as the
        model saw it then, whatever `root` says. Sequential halving divides the new simulations only.
      mesh: devices in a row, B a multiple of their number: each searches its part of the roots, with the same noise as
        without it. Roots are divided over them or on no device yet, the model is on each of them, and the results lie
        divided. On the path "xla" only.

    Returns:
      `SearchResult`. A root without a legal action, which only a traced call lets through, gets policy 0, action
      0 and its network value.

    Raises:
      SearchError: an argument is out of range, shapes disagree, or a root has no legal action.

    Source: MuZero, arXiv:1911.08265; Gumbel MuZero, ICLR 2022.
    """
    _check(root, simulations, rule, temperature, path, max_depth)
    _check_explore(explore, np.shape(root.policy_logits)[0])
    _check_key(key, np.shape(root.policy_logits)[0])
    on_host = isinstance(model, HostModel)
    if tree is not None:
        check_tree(tree, root)
    if on_host or tree is not None:
        chosen = _host_only(path, "a model that answers in Python" if on_host else "a reused tree")
    else:
        chosen = _choose_path(path)
    if mesh is not None and (chosen == "host" or np.shape(root.policy_logits)[0] % mesh.size):
        raise SearchError(
            f"mesh: {mesh.size} devices cannot share {np.shape(root.policy_logits)[0]} roots on path {chosen!r}; "
            "leave mesh out, or search a multiple of their number on path 'xla'"
        )
    # A plain bool is compiled in: a search without noise compiles in half the time.
    fixed, explore = (explore, 0.0) if isinstance(explore, bool) else (None, explore)
    traced = any(isinstance(x, Tracer) for x in jax.tree.leaves((model, root, key, explore, temperature)))
    if not traced:
        _check_legal(root)
    if chosen == "host" and traced:
        raise SearchError(
            "path: the host path cannot be traced; call search outside jit and scan"
            + ("" if on_host or tree is not None else ", or use path='xla'")
        )
    static, arrays = split(None if on_host else model)
    if chosen == "xla":
        return _search_xla(static, simulations, max_depth, fixed, mesh, arrays, root, key, rule, explore, temperature)
    kept, first, known = 0, 1, jax.tree.map(lambda x: (np if on_host else jnp).asarray(x)[:, None], root.state)
    if tree is not None:
        root, first = grafted(root, tree), np.shape(tree.nodes)[1]
        kept = _round_up(first + int(records(tree)["visits"].max()))
        known = jax.tree.map(_with_roots, tree.states, root.state)
    prepared, root = _prepare_jit(
        simulations, kept, max_depth, fixed, root._replace(state=()), key, rule, explore, temperature
    )
    if on_host:
        states = host.store_on_host(known, simulations)
        ask = partial(host.expand_on_host, model, root, partial(_check_answer, "expand", _sizes(root)), first)
    else:
        states = host.store(known, simulations)
        ask = partial(_expand_jit, static, _sizes(root), arrays)
    answers, grown, states = host.run(_name(rule), ask, root, states, prepared, simulations, tree)
    return _result(answers, grown, states)


def _with_roots(states: Any, roots: Any) -> Any:
    """[B, N, ...] states of a reused tree, with those of the roots that begin afresh too."""
    if not isinstance(states, np.ndarray):
        return states.at[:, 0].set(roots)
    states = states.copy()
    states[:, 0] = roots
    return states


def _round_up(count: int) -> int:
    """The next power of two: sizes that few programs are compiled for."""
    return 1 << (count - 1).bit_length()


@partial(jax.jit, static_argnums=(0, 1, 2, 3, 4))
def _search_xla(static, simulations, max_depth, fixed, mesh, arrays, root, key, rule, explore, temperature):
    prepared, root = _prepare(simulations, 0, max_depth, fixed, root, key, rule, explore, temperature)

    def run(arrays, root, prepared):
        recurrent = partial(_recurrent, static, _sizes(root), arrays)
        return xla.run(_name(rule), recurrent, root, prepared, simulations)

    if mesh is not None:
        alike, parts = PartitionSpec(), PartitionSpec(mesh.axis_names[0])
        of_prepared: Any = Prepared(*cast(Any, (alike, alike, parts, parts, parts, alike)))
        run = jax.shard_map(run, mesh=mesh, in_specs=(alike, parts, of_prepared), out_specs=parts, check_vma=False)
    return _result(*run(arrays, root, prepared))


@partial(jax.jit, static_argnums=(0, 1), donate_argnums=(3,))
def _expand_jit(static, sizes, arrays, states, k, pending):
    return host.expand(partial(_recurrent, static, sizes, arrays), states, k, pending)


def _prepare(simulations, kept, max_depth, fixed, root, key, rule, explore, temperature) -> tuple[Prepared, Prediction]:
    """Root logits, noise, tables and settings as the kernels read them."""
    root = _typed(root)
    logits = jnp.where(root.legal, root.policy_logits, -jnp.inf)
    top = logits.max(-1, keepdims=True)
    logits = jnp.where(
        root.legal, jnp.maximum(logits - jnp.where(jnp.isfinite(top), top, 0.0), _LOWEST_LOGIT), -jnp.inf
    )
    kernels = _RULES[type(rule)]
    explore = explore if fixed is None else fixed
    if explore is False:
        scores, noise = logits, jnp.zeros_like(logits)
    else:
        logits, scores, noise = kernels.root_noise(rule, key, logits, root.legal, explore)
    bounds = (np.inf, -np.inf) if rule.bounds is None else rule.bounds
    numbers = [
        float(MODES[rule.normalise]),
        rule.span_floor,
        float(simulations + kept + 1 if max_depth is None else max_depth),
        getattr(rule, "c_visit", 0.0),
        getattr(rule, "c_scale", 0.0),
        temperature,
    ]
    settings = jnp.stack([jnp.asarray(x, jnp.float32) for x in numbers])
    table = jnp.asarray(kernels.table(rule, simulations, kept), jnp.float32)
    bounds = jnp.stack([jnp.asarray(x, jnp.float32) for x in bounds])
    return Prepared(settings, table, logits, scores, noise, bounds), root


_prepare_jit = jax.jit(_prepare, static_argnums=(0, 1, 2, 3))


def _sizes(prediction: Prediction) -> tuple[int, int]:
    """(A, P)."""
    return np.shape(prediction.policy_logits)[1], np.shape(prediction.value)[1]


def _recurrent(static: Static, sizes: tuple[int, int], arrays: list[Any], state: Any, action: Any) -> Prediction:
    """What the model answers, checked while it is traced: the kernels read its arrays by address."""
    found = static.join(arrays).recurrent(state, action)
    _check_answer("recurrent", sizes, found, len(action))
    _check_states("recurrent", state, found.state)
    return _typed(found)


def _typed(prediction: Prediction) -> Prediction:
    """The dtypes that the kernels read."""
    return Prediction(
        jnp.asarray(prediction.reward, jnp.float32),
        jnp.asarray(prediction.discount, jnp.float32),
        jnp.asarray(prediction.to_play, jnp.int32),
        jnp.asarray(prediction.legal, jnp.bool_),
        jnp.asarray(prediction.value, jnp.float32),
        jnp.asarray(prediction.policy_logits, jnp.float32),
        prediction.state,
    )


def _result(answers: Any, tree: Any, states: Any) -> SearchResult:
    action, policy, value, visits, q = answers
    nodes, values, rows, interval, _ = tree
    return SearchResult(action, policy, value, visits, q, Tree(nodes, values, rows, interval, states))


def _name(rule: Any) -> str:
    return _RULES[type(rule)].__name__.rpartition(".")[2]


def _host_only(path: str, what: str) -> str:
    if path == "xla":
        raise SearchError(f"path: 'xla' cannot be used with {what}; use path='host' or 'auto'")
    return "host"


def _choose_path(path: str) -> str:
    reason = "" if path == "host" else xla.unavailable()
    if path == "xla" and reason:
        raise SearchError(f"path: 'xla' cannot be used: {reason}; use path='host' or 'auto'")
    chosen = "host" if path == "host" or reason else "xla"
    if path == "auto" and chosen not in _announced:
        _announced.add(chosen)
        _log.info("search runs its trees on path %r%s", chosen, f": {reason}" if reason else "")
    return chosen


def _check(root: Any, simulations: Any, rule: Any, temperature: Any, path: Any, max_depth: Any) -> None:
    rules.check_count("simulations", simulations)
    if type(rule) not in _RULES:
        raise SearchError(f"rule: {rule!r} is not a search rule; use Gumbel(...) or Puct(...)")
    if path not in ("auto", "xla", "host"):
        raise SearchError(f"path: {path!r} is unknown; choose one of auto, xla, host")
    if max_depth is not None:
        rules.check_count("max_depth", max_depth)
    rules.check_at_least("temperature", temperature, 0)
    check_prediction("root", root)


def check_prediction(name: str, prediction: Any) -> None:
    """Raise `SearchError` naming the field whose shape does not fit [B, P] and [B, A]."""
    shape = {f: np.shape(getattr(prediction, f)) for f in Prediction._fields if f != "state"}
    for field, axes in (("policy_logits", "[B, A]"), ("value", "[B, P]")):
        if len(shape[field]) != 2 or 0 in shape[field]:
            raise SearchError(f"{name}.{field}: shape {shape[field]} is not {axes}")
    batch, actions = shape["policy_logits"]
    players = shape["value"][1]
    wanted = dict(
        reward=(batch, players),
        discount=(batch,),
        to_play=(batch,),
        legal=(batch, actions),
        value=(batch, players),
    )
    for field, right in wanted.items():
        if shape[field] != right:
            raise SearchError(
                f"{name}.{field}: shape {shape[field]} is not {right}, which policy_logits "
                f"{shape['policy_logits']} and value {shape['value']} ask for"
            )
    for leaf in jax.tree.leaves(prediction.state):
        if np.ndim(leaf) < 1 or np.shape(leaf)[0] != batch:
            raise SearchError(f"{name}.state: an array of shape {np.shape(leaf)} has no leading axis of {batch} states")


def _check_answer(name: str, sizes: tuple[int, int], answer: Any, count: int) -> None:
    """Raise `SearchError` where a model's answer for `count` nodes does not fit roots of (A, P)."""
    check_prediction(name, answer)
    for field, axis, size in zip(("policy_logits", "value"), ("A", "P"), sizes, strict=True):
        shape = np.shape(getattr(answer, field))
        if shape != (count, size):
            raise SearchError(
                f"{name}.{field}: shape {shape} is not {(count, size)}: one row for each of {count} nodes, and "
                f"{axis} = {size} as in root.{field}"
            )


def _check_states(name: str, before: Any, after: Any) -> None:
    """Raise `SearchError` where a node's state is not of its parent's structure, shapes and dtypes."""
    structures = jax.tree.structure(before), jax.tree.structure(after)
    if structures[0] != structures[1]:
        raise SearchError(f"{name}.state: {structures[1]} is not the root's {structures[0]}")
    for (place, old), new in zip(jax.tree.leaves_with_path(before), jax.tree.leaves(after), strict=True):
        right, found = ((np.shape(x), jnp.result_type(x)) for x in (old, new))
        if right != found:
            raise SearchError(
                f"{name}.state{jax.tree_util.keystr(place)}: shape {found[0]} of {found[1]} is not {right[0]} of "
                f"{right[1]}, as the root has it"
            )


def _check_explore(explore: Any, batch: int) -> None:
    if np.ndim(explore) > 1 or np.size(explore) not in (1, batch):
        raise SearchError(f"explore: shape {np.shape(explore)} is neither one value nor one for each of {batch} roots")


def _check_key(key: Any, batch: int) -> None:
    if not rules.is_one_key(key) and np.shape(key)[0] != batch:
        raise SearchError(f"key: {np.shape(key)[0]} keys for {batch} roots; give one key, or one for each root")


def _check_legal(root: Prediction) -> None:
    stuck = np.flatnonzero(~np.asarray(root.legal, bool).any(-1))
    if len(stuck):
        raise SearchError(
            f"root.legal: root {stuck[0]} has no legal action ({len(stuck)} of {len(root.legal)}); "
            "a finished episode has nothing to search: leave it out of the batch"
        )
