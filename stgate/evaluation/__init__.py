"""Scores and plots of forecasts."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.evaluation import plot
    from stgate.evaluation._evaluate import evaluate

__all__ = [
    "evaluate",
    "plot",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "evaluate": "stgate.evaluation._evaluate",
        "plot": "stgate.evaluation.plot",
    },
)
