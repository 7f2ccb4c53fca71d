"""How deep the built-in networks are."""

import jax
import pytest

from muzen.config import NetworkConfig
from muzen.networks import make_network


@pytest.mark.parametrize("kind", ["mlp", "resnet"])
@pytest.mark.parametrize(("representation", "dynamics", "expected"), [(0, 2, 2), (3, 1, 3), (1, 2, 1)])
def test_the_representation_has_blocks_of_its_own_or_as_many_as_the_dynamics(kind, representation, dynamics, expected):
    config = NetworkConfig(kind=kind, width=8, channels=8, blocks=dynamics, representation_blocks=representation)
    net = make_network(config, (2, 3, 3), 9, 5, 5, 1, jax.random.key(0))
    assert len(net.representation_blocks) == expected
    assert len(net.dynamics_blocks) == dynamics
