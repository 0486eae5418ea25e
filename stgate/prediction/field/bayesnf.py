"""Predictor of BayesNF: a field without graph, gates and residuals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from stgate.distributions.likelihoods import Likelihood
from stgate.inference.base import Inference
from stgate.inference.ensemble import Ensemble
from stgate.prediction.field.predictor import FieldPredictor


def bayesnf(
    *,
    width: int = 256,
    depth: int = 2,
    seasons: Mapping[str, int] | None = None,
    degree: int | Mapping[str, int] = 5,
    interactions: Sequence[Sequence[str]] = (),
    likelihood: Likelihood | None = None,
    inference: Inference | None = None,
) -> FieldPredictor:
    """Make the predictor of a `BayesNF`: a field without graph, gates and residuals, in the targets' own units.

    Args:
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        seasons: Harmonics of each period, which is a name (`hour`, `day`, `week`, `month`, `year`) or a number of
            steps. None: up to four of day, week and year, as far as the panel's step resolves them.
        degree: Fourier degree of each coordinate (time, places, static and other covariates): one number for all, or by
            names, with 5 for those that are not named.
        interactions: Pairs of coordinates by name (`time`, `lat`, …) whose products are features.
        likelihood: The family of distributions of the values; a normal with scale 0.01 + exp(·) when None.
        inference: The inference of the weights; an ensemble of sixteen maximum a posteriori estimates under
            logistic priors when None.
    """
    return FieldPredictor(
        width=width,
        depth=depth,
        seasons=seasons,
        degree=degree,
        interactions=interactions,
        activation="shared",
        gate=False,
        residual="none",
        graph=0,
        heads=1,
        varying=False,
        standardized=False,
        likelihood=likelihood,
        inference=inference or Ensemble(members=16, prior="logistic"),
    )
