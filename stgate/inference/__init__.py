"""Inference: how weights become distributions, and what several of them predict together."""

from stgate.inference.base import Inference, PointEstimate
from stgate.inference.ensemble import Ensemble
from stgate.inference.mixture import Mixture
from stgate.inference.variational import MeanField

__all__ = ["Ensemble", "Inference", "MeanField", "Mixture", "PointEstimate"]
