"""The tree kernels as CPU custom calls, so that a whole search is one XLA program.

A Numba cfunc is a plain C function. XLA's typed FFI calls it with one argument, a pointer to an
XLA_FFI_CallFrame (xla/ffi/api/c_api.h, shipped under `jax.ffi.include_dir()`); it is read here by byte offset.

  CallFrame: struct_size 0, extension_start 8, api 16, ctx 24, stage 32, args 40, rets 80, attrs 120
  Args/Rets: struct_size 0, extension_start 8, size 16, types 24, pointers 32
  Buffer:    struct_size 0, extension_start 8, dtype 16, data 24, rank 32, dims 40
  Metadata extension: base {struct_size 0, type 8, next 16}, metadata* 24
  Metadata:  struct_size 0, api_version {struct_size 8, extension_start 16, major 24, minor 28}, traits 32

At registration XLA calls each function once with a metadata extension; the answer is the API version. The tree's
buffers are inputs aliased to outputs, so a kernel writes in place and XLA copies nothing inside the loop.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numba as nb
import numpy as np
from llvmlite import ir
from numba import carray, types  # pyright: ignore[reportPrivateImportUsage]
from numba.extending import intrinsic

from muzen.caches import compile_cached, source_version
from muzen.machine import usable_cores
from muzen.search import gumbel, loop, puct
from muzen.search.tree import ACTION, NODE, PARENT, WORDS, Buffers, Inputs, Leaf, compiled
from muzen.types import Prediction

_log = logging.getLogger(__name__)
_API = (0, 3)
_MOST_SECONDS = 60  # that this process waits for another one's compiling, after its own
_RECORD = nb.from_dtype(NODE)
_ARGS, _RETS = 40, 80


# --- reading the call frame ---------------------------------------------------------------------------------------
def _load(bits: int, result: Any):
    @intrinsic
    def load(typing_context, address):
        def generate(context, builder, signature, arguments):
            return builder.load(builder.inttoptr(arguments[0], ir.IntType(bits).as_pointer()))

        return result(types.int64), generate

    return load


def _pointer(element: Any):
    @intrinsic
    def pointer(typing_context, address):
        def generate(context, builder, signature, arguments):
            return builder.inttoptr(arguments[0], context.get_value_type(types.CPointer(element)))

        return types.CPointer(element)(types.int64), generate

    return pointer


def _copy(typing_context, target, source, count):
    def generate(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        copy = builder.module.declare_intrinsic("llvm.memcpy", [byte, byte, ir.IntType(64)])
        to, at = (builder.inttoptr(a, byte) for a in arguments[:2])
        builder.call(copy, [to, at, arguments[2], ir.Constant(ir.IntType(1), 0)])
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), generate


_copy_bytes: Any = intrinsic(_copy)


# Called from kernels only, without the typing context that a type checker sees.
_load_i64: Any = _load(64, types.int64)
_load_i32: Any = _load(32, types.int32)
_f32: Any = _pointer(types.float32)
_i32: Any = _pointer(types.int32)
_u8: Any = _pointer(types.uint8)
_node: Any = _pointer(_RECORD)
_always = functools.partial(nb.njit, inline="always", error_model="numpy")


@_always()
def _answers_metadata(frame):
    extension = _load_i64(frame + 8)
    if extension == 0 or _load_i32(extension + 8) != 1:
        return False
    version = carray(_i32(_load_i64(extension + 24) + 24), (2,))
    version[0], version[1] = 0, 3
    return True


@_always()
def _buffer(frame, group, i):
    return _load_i64(_load_i64(frame + group + 32) + 8 * i)


@_always()
def _data(buffer):
    return _load_i64(buffer + 24)


@_always()
def _dim(buffer, axis):
    return _load_i64(_load_i64(buffer + 40) + 8 * axis)


@_always()
def _vector(pointer, buffer):
    return carray(pointer(_data(buffer)), (_dim(buffer, 0),))


@_always()
def _matrix(pointer, buffer):
    return carray(pointer(_data(buffer)), (_dim(buffer, 0), _dim(buffer, 1)))


@_always()
def _cube(pointer, buffer):
    return carray(pointer(_data(buffer)), (_dim(buffer, 0), _dim(buffer, 1), _dim(buffer, 2)))


@_always()
def _tree(frame):
    """The tree's buffers are results 0..4 of every call that changes them."""
    values = _buffer(frame, _RETS, 1)
    return Buffers(
        _matrix(_node, _buffer(frame, _RETS, 0)),
        carray(_f32(_data(values)), (_dim(values, 0), _dim(values, 1), _dim(values, 2), 3)),
        _cube(_f32, _buffer(frame, _RETS, 2)),
        carray(_f32(_data(_buffer(frame, _RETS, 3))), (_dim(values, 0), _dim(values, 2), 2)),
        carray(_i32(_data(_buffer(frame, _RETS, 4))), (_dim(values, 0), 3)),
    )


@_always()
def _leaf(frame, i):
    """Arguments i.. are a `Leaf`."""
    return Leaf(
        _matrix(_f32, _buffer(frame, _ARGS, i)),
        _vector(_f32, _buffer(frame, _ARGS, i + 1)),
        _vector(_i32, _buffer(frame, _ARGS, i + 2)),
        _matrix(_u8, _buffer(frame, _ARGS, i + 3)),
        _matrix(_f32, _buffer(frame, _ARGS, i + 4)),
        _matrix(_f32, _buffer(frame, _ARGS, i + 5)),
    )


@_always()
def _inputs(frame, i):
    """Arguments i..i+2 are `Inputs`."""
    return Inputs(
        _vector(_f32, _buffer(frame, _ARGS, i)),
        _matrix(_f32, _buffer(frame, _ARGS, i + 1)),
        _matrix(_f32, _buffer(frame, _ARGS, i + 2)),
    )


@compiled
def _store_states(frame, first_new, first_result, leaves, row_bytes, nodes, n):
    """Copy the new states [B, ...] (arguments first_new..) into node n of the stored ones [B, N, ...]."""
    for i in range(leaves):
        new, store = _data(_buffer(frame, _ARGS, first_new + i)), _data(_buffer(frame, _RETS, first_result + i))
        size = np.int64(row_bytes[i])
        for b in range(nodes.shape[0]):
            _copy_bytes(store + (b * nodes.shape[1] + n) * size, new + b * size, size)


@compiled
def _fetch_states(frame, first_result, leaves, row_bytes, nodes, pending):
    """Copy the pending parents' states out of the stored ones into the `leaves` results after them."""
    for i in range(leaves):
        store = _data(_buffer(frame, _RETS, first_result + i))
        out = _data(_buffer(frame, _RETS, first_result + leaves + i))
        size = np.int64(row_bytes[i])
        for b in range(nodes.shape[0]):
            _copy_bytes(out + b * size, store + (b * nodes.shape[1] + pending[b, PARENT]) * size, size)


@compiled
def _put_action(frame, i, pending):
    action = _vector(_i32, _buffer(frame, _RETS, i))
    for b in range(action.shape[0]):
        action[b] = pending[b, ACTION]


# --- the calls ----------------------------------------------------------------------------------------------------
@_always()
def _step(run, frame):
    """Arguments: tree (5), inputs (3), k, leaf (6), row bytes, states, new states.

    Results: tree (5), action, states, the pending parents' states.
    """
    tree = _tree(frame)
    k = carray(_i32(_data(_buffer(frame, _ARGS, 8))), (1,))[0]
    row_bytes = _vector(_i32, _buffer(frame, _ARGS, 15))
    leaves = (_load_i64(frame + _ARGS + 16) - 16) // 2
    _store_states(frame, 16 + leaves, 6, leaves, row_bytes, tree.nodes, k)
    run(tree, _inputs(frame, 5), k, _leaf(frame, 9))
    _fetch_states(frame, 6, leaves, row_bytes, tree.nodes, tree.pending)
    _put_action(frame, 5, tree.pending)


@_always()
def _finish(run, frame):
    """Arguments: tree (5), inputs (3), noise. Results: tree (5), action, policy, value, visits, q."""
    run(
        _tree(frame),
        _inputs(frame, 5),
        _matrix(_f32, _buffer(frame, _ARGS, 8)),
        _vector(_i32, _buffer(frame, _RETS, 5)),
        _matrix(_f32, _buffer(frame, _RETS, 6)),
        _matrix(_f32, _buffer(frame, _RETS, 7)),
        _matrix(_i32, _buffer(frame, _RETS, 8)),
        _matrix(_f32, _buffer(frame, _RETS, 9)),
    )


def _functions(version: int) -> dict[str, Any]:
    """The calls by name, with `version` in their closure for the disk cache."""

    def probe(frame):
        if version < 0 or _answers_metadata(frame):
            return 0
        source, target = _matrix(_f32, _buffer(frame, _ARGS, 0)), _vector(_f32, _buffer(frame, _RETS, 0))
        target[0], target[1] = source.shape[0], source.shape[1]
        target[2] = source[source.shape[0] - 1, source.shape[1] - 1]
        return 0

    def start(frame):
        # Arguments: bounds, scores, leaf (6), row bytes, root states. Results: tree (5), action, states.
        if version < 0 or _answers_metadata(frame):
            return 0
        tree, leaf = _tree(frame), _leaf(frame, 2)
        loop.start(tree, _vector(_f32, _buffer(frame, _ARGS, 0)), _matrix(_f32, _buffer(frame, _ARGS, 1)), leaf)
        leaves = _load_i64(frame + _ARGS + 16) - 9
        _store_states(frame, 9, 6, leaves, _vector(_i32, _buffer(frame, _ARGS, 8)), tree.nodes, 0)
        _put_action(frame, 5, tree.pending)
        return 0

    def gumbel_step(frame):
        if version < 0 or _answers_metadata(frame):
            return 0
        _step(gumbel.gumbel_step, frame)
        return 0

    def puct_step(frame):
        if version < 0 or _answers_metadata(frame):
            return 0
        _step(puct.puct_step, frame)
        return 0

    def gumbel_finish(frame):
        if version < 0 or _answers_metadata(frame):
            return 0
        _finish(gumbel.gumbel_finish, frame)
        return 0

    def puct_finish(frame):
        if version < 0 or _answers_metadata(frame):
            return 0
        _finish(puct.puct_finish, frame)
        return 0

    return {f.__name__: f for f in (probe, start, gumbel_step, puct_step, gumbel_finish, puct_finish)}


_C_FUNCTION = functools.partial(nb.cfunc, types.int64(types.int64), error_model="numpy")
_kept: dict[str, Any] = {}  # XLA holds bare addresses: the compiled functions must outlive it


@functools.cache
def register(name: str) -> None:
    """Compile or load one call and tell XLA of it, once per process, when a search first needs it."""
    capsule = ctypes.pythonapi.PyCapsule_New
    capsule.restype, capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    _kept[name] = call = compile_cached(_C_FUNCTION, _functions(source_version("search"))[name])
    target = capsule(call.address, b"xla._CUSTOM_CALL_TARGET", None)
    jax.ffi.register_ffi_target(f"muzen_{name}", target, platform="cpu")


@functools.cache
def _register_search(rule: str) -> None:
    """A rule's calls. Where even the probe had to be compiled, nothing is cached yet: two processes compile them."""
    others = ["start", f"{rule}_finish"]
    with nullcontext() if _kept["probe"].cache_hits else _compiling_elsewhere(others):
        register(f"{rule}_step")
    for name in others:
        register(name)


@contextmanager
def _compiling_elsewhere(names: list[str]) -> Iterator[None]:
    """Meanwhile another process compiles these calls into the disk cache, where there is a core for it.

    Numba compiles in Python: threads would take turns. What the other process did not get done is compiled here.
    """
    python = Path(sys.executable or "").stem.lower().startswith("python") and not getattr(sys, "frozen", False)
    if not python or usable_cores() < 2:
        yield
        return
    code = f"from muzen.search import xla\nfor name in {names}: xla.register(name)"
    null, window = subprocess.DEVNULL, getattr(subprocess, "CREATE_NO_WINDOW", 0)
    try:
        helper = subprocess.Popen(
            [sys.executable, "-P", "-c", code], stdin=null, stdout=null, stderr=null, creationflags=window
        )
    except OSError as error:
        _log.debug("search compiles alone: %s", error)
        yield
        return
    try:
        yield
        helper.wait(_MOST_SECONDS)
    except subprocess.TimeoutExpired:
        _log.debug("search compiles alone: the other process still runs after %d s", _MOST_SECONDS)
    finally:
        helper.kill()
        helper.wait()


@functools.cache
def unavailable() -> str:
    """Why the custom calls cannot be used here; empty if they can. Decided once, by a call that reads its frame."""
    if jax.default_backend() != "cpu":
        return f"JAX computes on {jax.default_backend()}, and the tree's kernels run on the CPU"
    try:
        header = (Path(jax.ffi.include_dir()) / "xla" / "ffi" / "api" / "c_api.h").read_text()
        found = [re.search(rf"#define XLA_FFI_API_{part} (\d+)", header) for part in ("MAJOR", "MINOR")]
        version = tuple(int(match.group(1)) for match in found if match)
        # A newer minor version still serves this one; another major version, or an older one, does not.
        if len(version) != 2 or version[0] != _API[0] or version[1] < _API[1]:
            return f"XLA's FFI has version {version}, not {_API}"
        register("probe")
        with jax.ensure_compile_time_eval():
            probe = jax.ffi.ffi_call("muzen_probe", jax.ShapeDtypeStruct((3,), jnp.float32))
            answer = np.asarray(jax.jit(probe)(np.arange(6, dtype=np.float32).reshape(2, 3)))
    except Exception as error:  # whatever goes wrong here, the host path remains
        return f"the self-test failed: {type(error).__name__}: {error}"
    return "" if answer.tolist() == [2.0, 3.0, 5.0] else f"the self-test read {answer.tolist()} for [2, 3, 5]"


# --- the search as one program ------------------------------------------------------------------------------------
def _leaf_operands(prediction: Prediction) -> list[jax.Array]:
    return [getattr(prediction, field) for field in Leaf._fields]


def run(name: str, recurrent: Any, root: Prediction, prepared: Any, simulations: int):
    """All simulations of one search, traced into the surrounding program.

    Args:
      name: "gumbel" or "puct", whose kernels run.
      recurrent: (state, action) -> Prediction with the dtypes of `Prediction`.
      root: the roots, likewise.
      prepared: `api.Prepared`.
      simulations: how many.

    Returns:
      (action, policy, value, visits, q), tree buffers (5), states.
    """
    _register_search(name)
    batch, actions = prepared.scores.shape
    players, nodes = root.value.shape[1], simulations + 1
    of = jax.ShapeDtypeStruct
    tree_shapes = (
        of((batch, nodes, WORDS), jnp.int32),
        of((batch, nodes, players, 3), jnp.float32),
        of((batch, nodes, actions), jnp.float32),
        of((batch, players, 2), jnp.float32),
        of((batch, 3), jnp.int32),
    )
    action_shape = of((batch,), jnp.int32)
    root_states, structure = jax.tree.flatten(root.state)
    stored = tuple(of((batch, nodes, *x.shape[1:]), x.dtype) for x in root_states)
    parents = tuple(of(x.shape, x.dtype) for x in root_states)
    row_bytes = np.array([x.size // batch * x.dtype.itemsize for x in root_states] or [0], np.int32)
    inputs = (prepared.settings, prepared.table, prepared.logits)

    start = jax.ffi.ffi_call("muzen_start", (*tree_shapes, action_shape, *stored))
    started = start(prepared.bounds, prepared.scores, *_leaf_operands(root), row_bytes, *root_states)
    tree, action, states = tuple(started[:5]), started[5], tuple(started[6:])

    count = len(root_states)
    step = jax.ffi.ffi_call(
        f"muzen_{name}_step",
        (*tree_shapes, action_shape, *stored, *parents),
        input_output_aliases={i: i for i in range(5)} | {16 + i: 6 + i for i in range(count)},
    )

    def simulate(k, carry):
        tree, action, states, parent_states = carry
        found = recurrent(jax.tree.unflatten(structure, parent_states), action)
        new_states = jax.tree.leaves(found.state)
        out = step(*tree, *inputs, k, *_leaf_operands(found), row_bytes, *states, *new_states)
        return tuple(out[:5]), out[5], tuple(out[6 : 6 + count]), tuple(out[6 + count :])

    carry = (tree, action, states, tuple(root_states))
    tree, _, states, _ = jax.lax.fori_loop(1, nodes, simulate, carry)

    finish = jax.ffi.ffi_call(
        f"muzen_{name}_finish",
        (
            *tree_shapes,
            action_shape,
            of((batch, actions), jnp.float32),
            of((batch, players), jnp.float32),
            of((batch, actions), jnp.int32),
            of((batch, actions), jnp.float32),
        ),
        input_output_aliases={i: i for i in range(5)},
    )
    out = finish(*tree, *inputs, prepared.noise)
    return tuple(out[5:]), tuple(out[:5]), jax.tree.unflatten(structure, states)
