"""Targets of a training part, as transforms learn from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from stgate.data.window_data import WindowData
from stgate.errors import PanelError, did_you_mean
from stgate.schema.spec import PanelSpec


@dataclasses.dataclass(frozen=True)
class TrainingTargets:
    """Targets of a data module's training part, as transforms learn from them.

    Attributes:
        data: The data module.
    """

    data: WindowData

    @property
    def spec(self) -> PanelSpec:
        """The spec of the panel."""
        return self.data.spec

    def blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield values (member, time, node, target), NaN where missing, and their times (time,)."""
        series, targets = self.data.series, len(self.spec.targets)
        for first, last in series.blocks(*self.data.parts.train):
            yield series.read(first, last)[..., :targets], series.clock.time[first:last]

    def static(self, name: str) -> Tensor:
        """Return a static variable of the panel by its name, (node,), float64.

        Args:
            name: Name of a node coordinate or node variable.

        Raises:
            PanelError: The panel has no such variable over its nodes.
        """
        panel = self.data.panel
        if name not in panel or panel[name].dims != ("node",):
            known = [str(n) for n in panel.variables if panel[n].dims == ("node",) and n != "node"]
            raise PanelError(f"`{name}`: the panel has no such node variable; {did_you_mean(name, known)}")
        return torch.from_numpy(np.asarray(panel[name].values, "float64"))
