"""Layers: gates, cells, attention, recurrent networks, likelihoods; plain torch, not Lightning."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.nn import attention, cells, gates, likelihoods, recurrent
    from stgate.nn.likelihoods import Likelihood, Normal
    from stgate.nn.rollout import RollOut

__all__ = ["Likelihood", "Normal", "RollOut", "attention", "cells", "gates", "likelihoods", "recurrent"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Likelihood": "stgate.nn.likelihoods",
        "Normal": "stgate.nn.likelihoods",
        "RollOut": "stgate.nn.rollout",
        "attention": "stgate.nn.attention",
        "cells": "stgate.nn.cells",
        "gates": "stgate.nn.gates",
        "likelihoods": "stgate.nn.likelihoods",
        "recurrent": "stgate.nn.recurrent",
    },
)
