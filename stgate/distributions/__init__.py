"""Likelihoods, families of distributions, mixtures of them, and transforms of targets."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.distributions import likelihoods
    from stgate.distributions.anomaly import Anomaly
    from stgate.distributions.difference import Difference
    from stgate.distributions.likelihoods import (
        Likelihood,
        LogNormal,
        NegativeBinomial,
        Normal,
        Quantiles,
        StudentT,
        ZeroInflatedNegativeBinomial,
    )
    from stgate.distributions.mixture import Mixture
    from stgate.distributions.transforms import Asinh, Log, Logit, Power, Rate, Transform

__all__ = [
    "Anomaly",
    "Asinh",
    "Difference",
    "Likelihood",
    "Log",
    "LogNormal",
    "Logit",
    "Mixture",
    "NegativeBinomial",
    "Normal",
    "Power",
    "Quantiles",
    "Rate",
    "StudentT",
    "Transform",
    "ZeroInflatedNegativeBinomial",
    "likelihoods",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Anomaly": "stgate.distributions.anomaly",
        "Asinh": "stgate.distributions.transforms",
        "Difference": "stgate.distributions.difference",
        "Likelihood": "stgate.distributions.likelihoods",
        "Log": "stgate.distributions.transforms",
        "LogNormal": "stgate.distributions.likelihoods",
        "Logit": "stgate.distributions.transforms",
        "Mixture": "stgate.distributions.mixture",
        "NegativeBinomial": "stgate.distributions.likelihoods",
        "Normal": "stgate.distributions.likelihoods",
        "Power": "stgate.distributions.transforms",
        "Quantiles": "stgate.distributions.likelihoods",
        "Rate": "stgate.distributions.transforms",
        "StudentT": "stgate.distributions.likelihoods",
        "Transform": "stgate.distributions.transforms",
        "ZeroInflatedNegativeBinomial": "stgate.distributions.likelihoods",
        "likelihoods": "stgate.distributions.likelihoods",
    },
)
