"""Errors of forecasts that need no fit, on the validation part: what a forecaster has to beat."""

from __future__ import annotations

import dataclasses

import torch

from stgate.data.window_data import WindowData


@dataclasses.dataclass(frozen=True)
class ReferenceErrors:
    """Mean absolute errors on the validation part, in the targets' units.

    Attributes:
        persistence: Error of the last observed value, for all leads; of the node's mean where the window holds none.
        climatology: Error of the node's training mean in that month and hour.
    """

    persistence: float
    climatology: float

    @property
    def line(self) -> str:
        """The errors in words."""
        return f"val_mae to beat: persistence {self.persistence:.4g}, climatology {self.climatology:.4g}"

    def warning(self, error: float) -> str | None:
        """Return what to say of a forecaster that is no better; None of a better one.

        Args:
            error: Mean absolute error of the forecaster on the same cases.
        """
        name = "persistence" if self.persistence <= self.climatology else "climatology"
        best = min(self.persistence, self.climatology)
        if error < best:
            return None
        return (
            f"val_mae {error:.4g} is no better than the {best:.4g} of {name}: try another forecaster (Ridge, "
            "GradientBoosting), a longer window, transforms, or more data"
        )


@torch.no_grad()
def reference_errors(data: WindowData) -> ReferenceErrors | None:
    """Compute the errors of persistence and climatology on the validation part.

    Args:
        data: The data of a fit.

    Returns:
        The errors; None if the split has no validation part, or nothing is observed in it.
    """
    targets, means = len(data.spec.targets), data.cell_means()  # (cell, node, channel)
    totals, count = torch.zeros(2, dtype=torch.float64), 0
    for batch in data.part_dataloader("validation"):
        past, truth = batch["past"][..., :targets], batch["target"]
        usual = means[batch["future_cell"]][..., :targets]  # (batch, lead, node, target)
        last = usual.mean(1)
        for step in past.unbind(1):
            last = torch.where(torch.isnan(step), last, step)
        seen = ~torch.isnan(truth)
        for index, forecast in enumerate((last.unsqueeze(1).expand_as(truth), usual)):
            totals[index] += (forecast - truth).abs()[seen].double().sum()
        count += int(seen.sum())
    if not count:
        return None
    persistence, climatology = (totals / count).tolist()
    return ReferenceErrors(persistence, climatology)
