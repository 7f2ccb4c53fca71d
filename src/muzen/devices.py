"""Several devices for one run: a batch is divided over them, and each has all weights. On a CPU they are its cores.

XLA's CPU backend works on one convolution's gradient with one core, however many there are. Cores that JAX shows as
devices of their own each take a part of the batch instead. The same program divides it over GPUs; on several of them it
has not been run yet.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from muzen.errors import ConfigError
from muzen.machine import usable_cores

AXIS = "devices"
# Of a search with fewer roots a device, starting the parts and waiting for the last of them takes longer than it saves.
LEAST_ROOTS = 32


def available(count: int) -> int:
    """`count`, or how many devices JAX has if those are fewer. Starts JAX, where `count` is above 1.

    Of a CPU, JAX makes as many as it is asked for before it starts; a number that the user has set stays.
    """
    if count < 2:
        return 1
    chosen = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if chosen < 1 and "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        with contextlib.suppress(RuntimeError):  # too late: then there are as many as there are
            jax.config.update("jax_num_cpu_devices", count)
    return min(count, len(jax.devices()))


def worth_dividing(batch_size: int) -> int:
    """Devices that convolutions are best divided over: two cores of a CPU, where there are as many.

    More, and accelerators, have not been measured. Warns where JAX has started with one device too early.
    """
    if usable_cores() < 2 or batch_size % 2:
        return 1
    count = available(2)  # before anything that starts JAX
    if jax.default_backend() != "cpu":
        return 1
    if count < 2:
        warnings.warn(
            "JAX has started with one device, so that convolutions are learned on one core: to use two, train in a "
            "process of its own, or set JAX_NUM_CPU_DEVICES=2 first; devices=1 says that one is meant",
            stacklevel=2,
        )
    return count


def mesh_of(count: int) -> Mesh | None:
    """`count` devices in a row, or None where there is nothing to divide.

    Raises:
      ConfigError: JAX has fewer.
    """
    if count < 2:
        return None
    there = available(count)
    if there < count:
        more = ""
        if jax.default_backend() == "cpu":
            more = "train in a process of its own, which JAX has not started in, or set JAX_NUM_CPU_DEVICES first; or "
        raise ConfigError(f"devices: {count}, but JAX has {there} here; {more}use 1, or 0 to let Muzen choose")
    return Mesh(np.array(jax.devices()[:count]), (AXIS,))


def divided(tree: Any, mesh: Mesh | None, axis: int = 0) -> Any:
    """Arrays with `axis` divided over the devices; as they are without a mesh.

    Raises:
      ValueError: the axis is no multiple of their number.
    """
    if mesh is None:
        return tree
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec(*[None] * axis, AXIS)))


def everywhere(tree: Any, mesh: Mesh | None) -> Any:
    """Array leaves copied to each device; as they are without a mesh."""
    if mesh is None:
        return tree
    arrays, rest = eqx.partition(tree, eqx.is_array)
    return eqx.combine(jax.device_put(arrays, NamedSharding(mesh, PartitionSpec())), rest)


def here(tree: Any) -> Any:
    """What `everywhere` copied, on the first device alone, without copying it again."""
    return jax.tree.map(lambda x: x.addressable_data(0) if isinstance(x, jax.Array) else x, tree)


def mean(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a divided program: the mean over the devices of float32 arrays, in one exchange."""
    if mesh is None:
        return tree
    flat, restored = ravel_pytree(tree)
    return restored(jax.lax.pmean(flat, AXIS))


def whole(tree: Any, mesh: Mesh | None) -> Any:
    """Inside a divided program: [B / devices, ...] parts put together again, [B, ...] on each device."""
    return tree if mesh is None else jax.lax.all_gather(tree, AXIS, tiled=True)
