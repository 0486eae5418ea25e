"""Likelihoods: what a network's raw outputs mean as a distribution in the target's own units."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import softplus

from stgate.errors import CheckpointError, did_you_mean


class Likelihood(ABC):
    """A family of distributions; it has options but no weights.

    Attributes:
        parameters: Raw network outputs a target needs; the first one is the location, in standardised units.
    """

    parameters: int

    @abstractmethod
    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """The distribution in own units.

        Args:
            raw: (batch, lead, node, target, parameter), in standardised units.
            center: (target,), added after scaling.
            scale: (target,), multiplies.

        Returns:
            A distribution of batch shape (batch, lead, node, target).
        """

    def config(self) -> dict[str, Any]:
        """Plain values that make this likelihood again, for the checkpoint."""
        names = [n for n in inspect.signature(type(self).__init__).parameters if n != "self"]
        return {"class_path": type(self).__name__, "init_args": {n: getattr(self, n) for n in names}}

    @staticmethod
    def from_config(config: dict[str, Any]) -> Likelihood:
        """The likelihood that `config` described, looked up by name; nothing is imported.

        Raises:
            CheckpointError: No likelihood of this name.
        """
        known = {c.__name__: c for c in Likelihood.__subclasses__()}
        name = str(config.get("class_path", "")).rsplit(".", 1)[-1]
        if name not in known:
            raise CheckpointError(f"likelihood {name!r}: {did_you_mean(name, known)}")
        return known[name](**config.get("init_args", {}))


class Normal(Likelihood):
    """Normal(loc, scale) with scale = min_scale + softplus, both in units of the training data's spread.

    Args:
        min_scale: Lower bound of the standardised scale.
    """

    parameters = 2

    def __init__(self, min_scale: float = 1e-3) -> None:
        self.min_scale = min_scale

    def __call__(self, raw: Tensor, center: Tensor, scale: Tensor) -> Distribution:
        """See `Likelihood`."""
        spread = self.min_scale + softplus(raw[..., 1])
        return torch.distributions.Normal(center + scale * raw[..., 0], scale * spread, validate_args=False)
