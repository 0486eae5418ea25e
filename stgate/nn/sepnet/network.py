"""Network of STH-SepNet: a temporal branch common to all nodes, a spatial branch, and their fusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from stgate.nn.direct import Direct
from stgate.nn.edges import EdgeList
from stgate.nn.features import StepFeatures
from stgate.nn.inputs import Inputs
from stgate.nn.patches import Patches
from stgate.nn.sepnet.fusion import FusionName, LSTMGate, make_fusion
from stgate.nn.sepnet.neighbours import Neighbours
from stgate.nn.sepnet.spatial import SpatialBranch
from stgate.nn.sepnet.temporal import TemporalBranch
from stgate.schema.spec import PanelSpec


class SepNetwork(nn.Module):
    """Network with a temporal branch, a spatial branch, or both and a fusion.

    The temporal branch forecasts one curve for all nodes. Each node has its own level and scale of it.

    Args:
        spec: Description of the panel.
        outputs: Number of likelihood parameters of a target.
        temporal: Options of the temporal branch; None for no such branch.
        spatial: Options of the spatial branch; None for no such branch.
        fusion: Name of the fusion of both branches: `adaptive`, `attention` or `lstm`.
        hidden: Number of channels of a node's state.
        correction: Forecast a correction of another forecast, zero at first.
    """

    def __init__(
        self,
        spec: PanelSpec,
        outputs: int,
        *,
        temporal: dict[str, Any] | None,
        spatial: dict[str, Any] | None,
        fusion: FusionName,
        hidden: int,
        correction: bool = False,
    ) -> None:
        super().__init__()
        nodes, targets, patches = len(spec.nodes), len(spec.targets), Patches(spec)
        self.temporal = None if temporal is None else TemporalBranch(spec, outputs, **temporal)
        if temporal is not None:
            self.level = nn.Parameter(torch.zeros(nodes, targets))
            self.scale = nn.Parameter(torch.full((nodes, targets), 0.0 if correction else 1.0))
        if correction and self.temporal is not None:
            for part in (self.temporal.out.weight, self.temporal.out.bias):
                part.data.view(-1, outputs, *part.shape[1:])[:, 1:] = 0
        self.features = StepFeatures(spec, patches)
        self.spatial = None
        if spatial is not None:
            self.spatial = SpatialBranch(nodes, self.features.size, hidden=hidden, **spatial)
            self.decode = Direct(spec, patches, outputs, hidden, correction=correction)
        both = temporal is not None and spatial is not None
        self.fuse = make_fusion(fusion, hidden, targets * outputs) if both else None
        if correction and isinstance(self.fuse, LSTMGate):
            nn.init.zeros_(self.fuse.out.weight)
            nn.init.zeros_(self.fuse.out.bias)

    def forward(self, inputs: Inputs, graph: Neighbours | EdgeList | None, prompts: Sequence[str] = ()) -> Tensor:
        """Forecast a batch.

        Args:
            inputs: Standardised inputs of the window.
            graph: Given graph; None for none.
            prompts: Prompt of each window, for a language model.

        Returns:
            Raw outputs, (batch, lead, node, target, output), in standardised units.
        """
        if self.spatial is None:
            return self.in_time(inputs, prompts)
        space, state = self.in_space(inputs, graph)
        if self.fuse is None:
            return space
        made: Tensor = self.fuse(self.in_time(inputs, prompts).flatten(-2), space.flatten(-2), state)
        return made.view_as(space)

    def in_time(self, inputs: Inputs, prompts: Sequence[str] = ()) -> Tensor:
        """Forecast by the temporal branch: one curve, at each node's level and scale.

        Args:
            inputs: Standardised inputs of the window.
            prompts: Prompt of each window, for a language model.
        """
        assert self.temporal is not None
        made = self.temporal(inputs, prompts)
        curve, rest = made[..., :1], made[..., 1:]
        location = self.level.unsqueeze(-1) + self.scale.unsqueeze(-1) * curve
        return torch.cat([location, rest.expand(*location.shape[:-1], -1)], -1)

    def in_space(self, inputs: Inputs, graph: Neighbours | EdgeList | None) -> tuple[Tensor, Tensor]:
        """Forecast by the spatial branch; also return the state of each node, (batch, node, hidden).

        Args:
            inputs: Standardised inputs of the window.
            graph: Given graph; None for none.
        """
        assert self.spatial is not None
        seen = self.features(inputs.values, inputs.mask, inputs.since, inputs.calendar, inputs.static)
        state = self.spatial(seen, graph)
        return self.decode(state, inputs, self.decode.horizon), state
