"""Forecasters: Lightning modules, one a file."""

from typing import TYPE_CHECKING

from stgate.lazy import attach

if TYPE_CHECKING:
    from stgate.models.baselines import Climatology, Persistence, Ridge
    from stgate.models.forecaster import Forecaster
    from stgate.models.gated_rnn import GatedRNN

__all__ = ["Climatology", "Forecaster", "GatedRNN", "Persistence", "Ridge"]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Climatology": "stgate.models.baselines",
        "Forecaster": "stgate.models.forecaster",
        "GatedRNN": "stgate.models.gated_rnn",
        "Persistence": "stgate.models.baselines",
        "Ridge": "stgate.models.baselines",
    },
)
