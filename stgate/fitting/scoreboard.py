"""Table of the candidates of an automatic fit."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pandas as pd
import torch

from stgate.data.window_data import WindowData
from stgate.distributions.reshaped import SCORES
from stgate.inference.pool_spread import GRID, at_levels
from stgate.inference.pool_weights import LEVELS
from stgate.io import store
from stgate.models.stack import member_forecasts
from stgate.prediction.predictor import Predictor
from stgate.prediction.stack import StackPredictor


@dataclasses.dataclass(frozen=True)
class Row:
    """Line of the table.

    Attributes:
        name: Name of the candidate.
        crps: CRPS on the validation part, the mean over leads, nodes and targets.
        mae: Mean absolute error of the median.
        seconds: Seconds of its first fit.
        epochs: Number of epochs of its fits.
        weight: Weight in the stack, the mean over leads and targets.
        note: Reason why it was left out, or other words.
    """

    name: str
    crps: float = math.nan
    mae: float = math.nan
    seconds: float = math.nan
    epochs: int = 0
    weight: float = math.nan
    note: str = ""

    def __str__(self) -> str:
        if math.isnan(self.crps) and self.note:
            return f"{self.name:<24}{self.note}"
        epochs = f", {self.epochs} epochs" if self.epochs > 1 else ""
        return f"{self.name:<24}{self.crps:>10.4g}{self.mae:>10.4g}   ({self.note or f'{self.seconds:.0f} s{epochs}'})"


def scored(predictor: Predictor, data: WindowData) -> tuple[float, float]:
    """Return CRPS and mean absolute error of a forecaster on the validation part; NaN without one.

    Args:
        predictor: A fitted predictor.
        data: Its data.
    """
    loader = data.part_dataloader("validation")
    if isinstance(loader, list):
        return math.nan, math.nan
    (quantiles,), truth, _ = member_forecasts(StackPredictor(members=[predictor]), cast(Any, loader))
    miss = truth.unsqueeze(-1) - at_levels(quantiles, torch.tensor(SCORES), LEVELS)
    levels = torch.tensor(LEVELS)
    crps = 2 * torch.maximum(levels * miss, (levels - 1) * miss).mean(-1)
    median = quantiles[..., len(GRID) // 2]
    return float(crps.nanmean()), float((truth - median).abs().nanmean())


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return the lines as a table, indexed by the candidates' names."""
    return pd.DataFrame([dataclasses.asdict(row) for row in rows]).set_index("name")


def write_tables(table: pd.DataFrame, folder: Path) -> None:
    """Write a table as `scores.csv` and `scores.md`.

    Args:
        table: The table.
        folder: An existing folder.
    """
    with store.atomic(folder / "scores.csv") as temporary:
        table.to_csv(temporary)
    lines = ["| " + " | ".join(["candidate", *table.columns]) + " |", "|" + "---|" * (len(table.columns) + 1)]
    for name, row in table.iterrows():
        cells = [f"{value:.4g}" if isinstance(value, float) else str(value) for value in row]
        lines.append("| " + " | ".join([str(name), *("" if c == "nan" else c for c in cells)]) + " |")
    with store.atomic(folder / "scores.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="utf-8")
