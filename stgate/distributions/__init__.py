"""Likelihoods, families of distributions, and mixtures of them."""

from typing import TYPE_CHECKING

from stgate._lazy import attach

if TYPE_CHECKING:
    from stgate.distributions import likelihoods
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

__all__ = [
    "Likelihood",
    "LogNormal",
    "Mixture",
    "NegativeBinomial",
    "Normal",
    "Quantiles",
    "StudentT",
    "ZeroInflatedNegativeBinomial",
    "likelihoods",
]

__getattr__, __dir__ = attach(
    __name__,
    {
        "Likelihood": "stgate.distributions.likelihoods",
        "LogNormal": "stgate.distributions.likelihoods",
        "Mixture": "stgate.distributions.mixture",
        "NegativeBinomial": "stgate.distributions.likelihoods",
        "Normal": "stgate.distributions.likelihoods",
        "Quantiles": "stgate.distributions.likelihoods",
        "StudentT": "stgate.distributions.likelihoods",
        "ZeroInflatedNegativeBinomial": "stgate.distributions.likelihoods",
        "likelihoods": "stgate.distributions.likelihoods",
    },
)
