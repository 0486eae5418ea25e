"""Differences: the deviation of a target from its last observation in the window."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from stgate.distributions.transforms import State, TrainingPart, Transform
from stgate.schema.spec import PanelSpec


class Difference(Transform):
    """Difference from the node's last observed value in the window; for levels that drift, such as prices or stocks.

    It is the last of a list of transforms. Past and future values are measured from the same value, so that quantiles
    of every lead are exact. A node that the window does not observe is measured from its training mean. Fields have no
    window and do not take it.
    """

    affine: ClassVar[bool] = True

    def shapes(self, spec: PanelSpec) -> dict[str, tuple[int, ...]]:
        """Return the shape of the training means."""
        return {"mean": (len(spec.nodes), len(spec.targets))}

    def learn(self, part: TrainingPart) -> State:
        """Learn the mean of each node; that of all nodes for one that is never observed."""
        total = count = torch.zeros(len(part.spec.nodes), len(part.spec.targets), dtype=torch.float64)
        for values, _ in part.blocks():
            known = ~values.isnan()
            total = total + torch.where(known, values, 0.0).double().sum((0, 1))
            count = count + known.sum((0, 1))
        pooled = total.sum(0) / count.sum(0).clamp(min=1)
        return {"mean": torch.where(count > 0, total / count.clamp(min=1), pooled).float()}

    def bind(self, state: State, time: Tensor) -> Tensor:
        """Return the training means: what values are measured from where there is no window."""
        return state["mean"][None, None, ..., None]

    def bind_window(self, state: State, past: Tensor) -> Tensor:
        """Return the last observed values of windows.

        Args:
            state: Learned numbers.
            past: (batch, step, node, target), values of the window as the transforms before this one encode them.

        Returns:
            Parameters, (batch, 1, node, target, 1).
        """
        known = ~past.isnan()
        step = torch.arange(1, past.shape[1] + 1, device=past.device)[:, None, None]
        last = (known * step).amax(1, keepdim=True)  # 0 where nothing is observed
        value = past.gather(1, (last - 1).clamp(min=0))
        return torch.where(last > 0, value, state["mean"].to(value)).unsqueeze(-1)

    def encode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the difference."""
        return values - given[..., 0]

    def decode(self, values: Tensor, given: Tensor) -> Tensor:
        """Return the value that the difference was taken from."""
        return values + given[..., 0]

    def log_slope(self, values: Tensor, given: Tensor) -> Tensor:
        """Return zero."""
        return torch.zeros_like(values)
