"""A recurrent network shared by all nodes, gated between what enters a step and what the recurrence makes of it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from stgate.errors import RequestError
from stgate.nn.gates import make_gate
from stgate.nn.inputs import Inputs
from stgate.spec import PanelSpec


class StepFeatures(nn.Module):
    """All that a node sees at one step, concatenated.

    Its own channels with their masks, steps since its targets were observed, the mean of the targets over all observed
    nodes, the targets of `halo` neighbours on either side (a ring when the panel is periodic), calendar and static.
    """

    def __init__(self, spec: PanelSpec, halo: int) -> None:
        super().__init__()
        if 2 * halo >= len(spec.nodes):
            raise RequestError(
                f"halo {halo}: {len(spec.nodes)} nodes have fewer neighbours; at most {(len(spec.nodes) - 1) // 2}"
            )
        self.targets, self.halo, self.periodic = len(spec.targets), halo, spec.boundary == "periodic"
        calendar, static = 2 * len(spec.calendar), len(spec.static_covariates)
        self.size = 2 * len(spec.channels) + self.targets * (2 + 2 * halo) + calendar + static

    def forward(self, values: Tensor, mask: Tensor, since: Tensor, calendar: Tensor, static: Tensor) -> Tensor:
        """(batch, time, node, …) tensors -> (batch, time, node, self.size)."""
        target, seen = values[..., : self.targets], mask[..., : self.targets]
        mean = (target * seen).sum(2, keepdim=True) / seen.sum(2, keepdim=True).clamp(min=1)
        shape = target.shape[:3]
        parts = [values, mask, since, mean.expand_as(target)]
        parts += [self._shifted(target, k) for j in range(1, self.halo + 1) for k in (-j, j)]
        parts.append(calendar.unsqueeze(2).expand(*shape, -1))
        parts.append(static.expand(*shape[:2], *static.shape))
        return torch.cat(parts, -1)

    def _shifted(self, target: Tensor, by: int) -> Tensor:
        rolled = target.roll(by, dims=2)
        if not self.periodic:  # beyond the edge there is nothing
            edge = slice(None, by) if by > 0 else slice(by, None)
            rolled[:, :, edge] = 0.0
        return rolled


class GatedRecurrentNetwork(nn.Module):
    """GRU over the window, gated with its own input; then all leads at once (direct) or one step at a time (roll-out).

    Direct: a decoder reads the last state, the lead and what is known ahead, and its location is gated with the last
    observed value. Roll-out: a head gives the next step's increment, which is fed back as if it had been observed.

    Args:
        spec: The panel's.
        outputs: Likelihood parameters a target.
        hidden: State size.
        layers: GRU layers.
        gate: Name of a gate of `stgate.nn.gates`.
        rollout: Roll-out rather than direct.
        halo: Neighbours on either side that a node sees.
        dropout: On the gated state, and between layers.
    """

    def __init__(
        self,
        spec: PanelSpec,
        outputs: int,
        *,
        hidden: int = 64,
        layers: int = 1,
        gate: str = "coupled",
        rollout: bool = False,
        halo: int = 0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if rollout and spec.past_covariates:
            raise RequestError(
                f"rollout: `{spec.past_covariates[0]}` is a past covariate, unknown ahead of the origin; "
                "make it a target or a future covariate, or forecast directly"
            )
        self.targets, self.outputs, self.rollout, self.horizon = len(spec.targets), outputs, rollout, spec.horizon
        self.features = StepFeatures(spec, halo)
        self.embed = nn.Sequential(nn.Linear(self.features.size, hidden), nn.GELU())
        self.recurrence = nn.GRU(hidden, hidden, layers, batch_first=True, dropout=dropout if layers > 1 else 0.0)
        self.gate = make_gate(gate, hidden)
        self.dropout = nn.Dropout(dropout)
        if rollout:
            self.head = nn.Sequential(nn.Linear(hidden, hidden), nn.GELU(), nn.Linear(hidden, self.targets * outputs))
        else:
            known = 2 * len(spec.future_covariates) + 2 * len(spec.calendar)
            self.from_state = nn.Linear(hidden, hidden)
            self.from_known = nn.Linear(known, hidden, bias=False) if known else None
            self.lead = nn.Parameter(0.02 * torch.randn(spec.horizon, hidden))
            self.head = nn.Sequential(nn.GELU(), nn.Linear(hidden, self.targets * (outputs + 1)))
            self.by_lead = nn.Linear(hidden, spec.horizon * self.targets * (outputs + 1))

    def forward(self, inputs: Inputs, leads: int | None = None) -> Tensor:
        """The first `leads` leads (all when None): (batch, lead, node, target, output), in standardised units."""
        seen = self.features(inputs.values, inputs.mask, inputs.since, inputs.calendar, inputs.static)
        state, memory = self._recur(seen)
        leads = self.horizon if leads is None else leads
        return self._rolled(inputs, state, memory, leads) if self.rollout else self._direct(inputs, state, leads)

    def _recur(self, seen: Tensor, memory: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(batch, time, node, feature) -> the gated state of the last step (batch, node, hidden), and the memory."""
        batch, _, nodes, _ = seen.shape
        embedded = self.embed(seen.transpose(1, 2).flatten(0, 1))  # (batch * node, time, hidden)
        hidden, memory = self.recurrence(embedded, memory)
        state = self.dropout(self.gate(embedded[:, -1], hidden[:, -1]))
        return state.view(batch, nodes, -1), memory

    def _direct(self, inputs: Inputs, state: Tensor, leads: int) -> Tensor:
        batch, nodes, _ = state.shape
        hidden = self.from_state(state).unsqueeze(1) + self.lead[:leads, None]  # (batch, lead, node, hidden)
        if self.from_known is not None:
            calendar = inputs.future_calendar[:, :leads, None].expand(-1, -1, nodes, -1)
            hidden = hidden + self.from_known(torch.cat([inputs.future[:, :leads], calendar], -1))
        raw = self.head(hidden).view(batch, leads, nodes, self.targets, self.outputs + 1)
        # A linear read-out of each lead's own, beside the shared one: short leads need detail that long ones blur.
        own = self.by_lead(state).view(batch, nodes, self.horizon, self.targets, self.outputs + 1)
        raw = raw + own[:, :, :leads].transpose(1, 2)
        location, rest, openness = raw[..., :1], raw[..., 1:-1], torch.sigmoid(raw[..., -1:])
        last = inputs.last[:, None, :, :, None]
        return torch.cat([last + openness * (location - last), rest], -1)

    def _rolled(self, inputs: Inputs, state: Tensor, memory: Tensor, leads: int) -> Tensor:
        batch, nodes, _ = state.shape
        now = inputs.last  # (batch, node, target)
        since = torch.zeros_like(now).unsqueeze(1)
        outputs = []
        for lead in range(leads):
            raw = self.head(state).view(batch, nodes, self.targets, self.outputs)
            now = now + raw[..., 0]
            outputs.append(torch.cat([now.unsqueeze(-1), raw[..., 1:]], -1))
            if lead + 1 < leads:
                values, masks = inputs.future[:, lead : lead + 1].chunk(2, -1)
                fed = torch.cat([now.unsqueeze(1), values], -1)
                mask = torch.cat([torch.ones_like(now).unsqueeze(1), masks], -1)
                calendar = inputs.future_calendar[:, lead : lead + 1]
                state, memory = self._recur(self.features(fed, mask, since, calendar, inputs.static), memory)
        return torch.stack(outputs, 1)
