"""Layers: gates, attention, feed-forward layers and imputation, and one package for the layers of each network."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.nn import attention, convolution, edges, feedforward, gates, patches
    from stgate.nn.gated import cells, recurrent, transformer, transition
    from stgate.nn.gated.rollout import RollOut

__all__ = [
    "RollOut",
    "attention",
    "cells",
    "convolution",
    "edges",
    "feedforward",
    "gates",
    "patches",
    "recurrent",
    "transformer",
    "transition",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "NegativeBinomial": "stgate.distributions",  # by their old names, from before they had a room of their own
        "ZeroInflatedNegativeBinomial": "stgate.distributions",
        "RollOut": "stgate.nn.gated.rollout",
        "attention": "stgate.nn.attention",
        "cells": "stgate.nn.gated.cells",
        "convolution": "stgate.nn.convolution",
        "edges": "stgate.nn.edges",
        "feedforward": "stgate.nn.feedforward",
        "gates": "stgate.nn.gates",
        "patches": "stgate.nn.patches",
        "recurrent": "stgate.nn.gated.recurrent",
        "transformer": "stgate.nn.gated.transformer",
        "transition": "stgate.nn.gated.transition",
    },
)
