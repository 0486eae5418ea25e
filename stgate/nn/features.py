"""Input features of each node, or patch of nodes, at one step."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec


class StepFeatures(nn.Module):
    """Features of a patch at one step, concatenated.

    Features of its own nodes are all channels with their masks, and the steps since the targets were observed. A local
    model (with patches or a halo) adds the targets of all nodes that the patch sees, with their masks. Another model
    adds the mean of the targets over all observed nodes. Calendar features and static covariates come last.

    Args:
        spec: Description of the panel.
        patches: Patches into which the nodes are cut.
        forcing: Leave out all features of the targets.

    Attributes:
        rows_last: True to place the patches of all batches last in memory, by step, as `GRU` reads several steps.
    """

    rows_last = False

    def __init__(self, spec: PanelSpec, patches: Patches, *, forcing: bool = False) -> None:
        super().__init__()
        self.targets, self.patches, self.forcing = len(spec.targets), patches, forcing
        self.local = patches.reach > 1
        own = 2 * len(spec.channels) + self.targets + len(spec.static_covariates)
        seen = 2 * patches.reach * self.targets if self.local else self.targets
        if forcing:
            own, seen = own - 3 * self.targets, 0
        self.size = patches.size * own + seen + 2 * len(spec.calendar)

    def forward(self, values: Tensor, mask: Tensor, since: Tensor, calendar: Tensor, static: Tensor) -> Tensor:
        """Gather the features of each patch.

        Args:
            values: Values, (batch, time, node, channel), without NaN.
            mask: Mask, (batch, time, node, channel), 1 where observed.
            since: Logarithm of 1 + steps since last observed, (batch, time, node, target).
            calendar: Calendar features, (batch, time, feature).
            static: Static covariates, (node, static).

        Returns:
            Features, (batch, time, patch, self.size).
        """
        around = calendar.unsqueeze(2).expand(-1, -1, self.patches.count, -1)
        always = self.patches.fold(static).expand(*values.shape[:2], -1, -1)
        if self.forcing:
            own = self.patches.fold(torch.cat([values[..., self.targets :], mask[..., self.targets :]], -1))
            return self._joined([own, around, always])
        target, seen = values[..., : self.targets], mask[..., : self.targets]
        if self.local:
            near = self.patches.surround(torch.cat([target, seen], -1))
        else:
            mean = (target * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True).clamp(min=1)
            near = mean.expand_as(target)
        own = self.patches.fold(torch.cat([values, mask, since], -1))
        return self._joined([own, near, around, always])

    def _joined(self, parts: list[Tensor]) -> Tensor:
        """Concatenate features, (batch, time, patch, feature)."""
        if self.rows_last and parts[0].shape[1] > 1:
            return torch.cat([part.permute(1, 3, 0, 2) for part in parts], 1).permute(2, 0, 3, 1)
        return torch.cat(parts, -1)
