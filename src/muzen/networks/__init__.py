"""Networks: the built-in ones, the contract for a user's own, and the model that search asks."""

from muzen.networks.blocks import Layer, LayerNorm, Linear, ResidualBlock, generator, min_max
from muzen.networks.contract import Network, check_network, require_encoding
from muzen.networks.make import is_convolutional, make_network
from muzen.networks.mlp import MLPNetwork
from muzen.networks.model import NetworkModel, TurnState
from muzen.networks.normaliser import Normaliser
from muzen.networks.resnet import ResNetwork

__all__ = [
    "Layer",
    "LayerNorm",
    "Linear",
    "MLPNetwork",
    "Network",
    "NetworkModel",
    "Normaliser",
    "ResNetwork",
    "ResidualBlock",
    "TurnState",
    "check_network",
    "generator",
    "is_convolutional",
    "make_network",
    "min_max",
    "require_encoding",
]
