"""Inference: how weights become distributions."""

from stgate.inference.base import Inference, PointEstimate
from stgate.inference.ensemble import Ensemble
from stgate.inference.variational import MeanField

__all__ = ["Ensemble", "Inference", "MeanField", "PointEstimate"]
