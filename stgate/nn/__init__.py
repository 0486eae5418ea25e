"""Layers: gates, cells, attention, recurrent networks, likelihoods; plain torch, not Lightning."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.nn import attention, cells, feedforward, gates, likelihoods, patches, recurrent, transformer, transition
    from stgate.nn.likelihoods import (
        Likelihood,
        LogNormal,
        NegativeBinomial,
        Normal,
        Quantiles,
        StudentT,
        ZeroInflatedNegativeBinomial,
    )
    from stgate.nn.rollout import RollOut

__all__ = [
    "Likelihood",
    "LogNormal",
    "NegativeBinomial",
    "Normal",
    "Quantiles",
    "RollOut",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "attention",
    "cells",
    "feedforward",
    "gates",
    "likelihoods",
    "patches",
    "recurrent",
    "transformer",
    "transition",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Likelihood": "stgate.nn.likelihoods",
        "LogNormal": "stgate.nn.likelihoods",
        "NegativeBinomial": "stgate.nn.likelihoods",
        "Normal": "stgate.nn.likelihoods",
        "Quantiles": "stgate.nn.likelihoods",
        "RollOut": "stgate.nn.rollout",
        "StudentT": "stgate.nn.likelihoods",
        "ZeroInflatedNegativeBinomial": "stgate.nn.likelihoods",
        "attention": "stgate.nn.attention",
        "cells": "stgate.nn.cells",
        "feedforward": "stgate.nn.feedforward",
        "gates": "stgate.nn.gates",
        "likelihoods": "stgate.nn.likelihoods",
        "patches": "stgate.nn.patches",
        "recurrent": "stgate.nn.recurrent",
        "transformer": "stgate.nn.transformer",
        "transition": "stgate.nn.transition",
    },
)
