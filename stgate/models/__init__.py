"""Forecasters: Lightning modules, one a file."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.models.baselines import Climatology, Persistence, Ridge
    from stgate.models.bayesnf import BayesNF
    from stgate.models.cglubnf import CGLUBNF
    from stgate.models.forecaster import Forecaster
    from stgate.models.gated_rnn import GatedRNN
    from stgate.models.gated_transformer import GatedTransformer
    from stgate.models.gradient_boosting import GradientBoosting
    from stgate.models.sth_sepnet import STHSepNet

__all__ = [
    "CGLUBNF",
    "BayesNF",
    "Climatology",
    "Forecaster",
    "GatedRNN",
    "GatedTransformer",
    "GradientBoosting",
    "Persistence",
    "Ridge",
    "STHSepNet",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "BayesNF": "stgate.models.bayesnf",
        "CGLUBNF": "stgate.models.cglubnf",
        "Climatology": "stgate.models.baselines",
        "Forecaster": "stgate.models.forecaster",
        "GatedRNN": "stgate.models.gated_rnn",
        "GatedTransformer": "stgate.models.gated_transformer",
        "GradientBoosting": "stgate.models.gradient_boosting",
        "Persistence": "stgate.models.baselines",
        "Ridge": "stgate.models.baselines",
        "STHSepNet": "stgate.models.sth_sepnet",
    },
)
