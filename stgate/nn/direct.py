"""Decoder that forecasts all leads at once from the state at the origin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.nn.inputs import Inputs
from stgate.nn.patches import Patches
from stgate.schema.spec import PanelSpec


class Direct(nn.Module):
    """Direct decoder of the last state, the lead and covariates known ahead; a gate mixes in the last observed value.

    Args:
        spec: Description of the panel.
        patches: Patches into which the nodes are cut.
        outputs: Number of likelihood parameters of a target.
        hidden: Number of channels of the state.
        correction: Forecast a correction of another forecast: the gate then mixes in zero, and the first forecast of a
            new decoder is zero.
    """

    def __init__(
        self, spec: PanelSpec, patches: Patches, outputs: int, hidden: int, *, correction: bool = False
    ) -> None:
        super().__init__()
        self.correction = correction
        self.patches, self.outputs, self.horizon = patches, outputs, spec.horizon
        self.targets = patches.size * len(spec.targets)  # of a patch
        known = 2 * patches.size * len(spec.future_covariates) + 2 * len(spec.calendar)
        self.from_state = nn.Linear(hidden, hidden)
        self.from_known = nn.Linear(known, hidden, bias=False) if known else None
        self.lead = nn.Parameter(0.02 * torch.randn(spec.horizon, hidden))
        shared = nn.Linear(hidden, self.targets * (outputs + 1))
        self.head = nn.Sequential(nn.GELU(), shared)
        self.by_lead = nn.Linear(hidden, spec.horizon * self.targets * (outputs + 1))
        if correction:
            for layer in (shared, self.by_lead):
                for part in (layer.weight, layer.bias):
                    part.data.view(-1, outputs + 1, *part.shape[1:])[:, :-1] = 0

    def forward(self, state: Tensor, inputs: Inputs, leads: int) -> Tensor:
        """Decode the last state.

        Args:
            state: Last state of each patch, (batch, patch, hidden).
            inputs: Standardised inputs of the window.
            leads: Number of leads to forecast.

        Returns:
            Raw outputs, (batch, lead, node, target, output), in standardised units.
        """
        batch, patches, _ = state.shape
        of_lead = self.lead[:leads, None]  # (lead, 1, hidden)
        hidden = self.from_state(state).unsqueeze(1)  # (batch, 1, patch, hidden)
        if self.from_known is not None:
            calendar, own = inputs.future_calendar[:, :leads, None], self.patches.fold(inputs.future[:, :leads])
            if own.shape[-1] == 0:
                of_lead = of_lead + self.from_known(calendar)  # the same for all patches
            else:
                known = torch.cat([own, calendar.expand(-1, -1, patches, -1)], -1)
                hidden = hidden + self.from_known(known)
        hidden = hidden + of_lead  # (batch, lead, patch, hidden)
        raw = self.head(hidden).view(batch, leads, patches, self.targets, self.outputs + 1)
        # A linear read-out for each lead, beside the shared one: short leads need detail that long ones blur.
        own = self.by_lead(state).view(batch, patches, self.horizon, self.targets, self.outputs + 1)
        raw = raw + own[:, :, :leads].transpose(1, 2)
        location, rest, gate = raw[..., :1], raw[..., 1:-1], torch.sigmoid(raw[..., -1:])
        if self.correction:
            location = gate * location
        else:
            last = self.patches.fold(inputs.last)[:, None, :, :, None]
            location = last + gate * (location - last)
        made = torch.cat([location, rest], -1)
        whole = self.patches.unfold(made.flatten(-2))
        return whole.reshape(*whole.shape[:-1], -1, self.outputs)
