"""Inference: point estimates, ensembles and variational posteriors of a network's weights."""

from stgate.inference.base import Inference, PointEstimate
from stgate.inference.ensemble import Ensemble
from stgate.inference.variational import MeanField

__all__ = ["Ensemble", "Inference", "MeanField", "PointEstimate"]
