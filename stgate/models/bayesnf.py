"""BayesNF: the Bayesian neural field that CGLUBNF grew from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from stgate.distributions.likelihoods import Likelihood
from stgate.inference.base import Inference
from stgate.models.cglubnf import FieldForecaster
from stgate.prediction.field.bayesnf import bayesnf


class BayesNF(FieldForecaster):
    """A Bayesian neural field: Fourier features and seasons through layers with one learned activation.

    It is `CGLUBNF` with graph, gates and residuals off and one activation for all layers; targets are not standardised,
    and the noise is one number.

    Args:
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        seasons: Harmonics of each period, which is a name (`hour`, `day`, `week`, `month`, `year`) or a number of
            steps. None: up to four of day, week and year, as far as the panel's step resolves them.
        degree: Fourier degree of each coordinate (time, places, static and other covariates): one number for all, or by
            names, with 5 for those that are not named.
        interactions: Pairs of coordinates by name (`time`, `lat`, …) whose products are features.
        likelihood: The family of distributions of the values; a normal with scale 0.01 + exp(·) when None.
            `NegativeBinomial` and `ZeroInflatedNegativeBinomial` are for counts.
        inference: The inference of the weights; an ensemble of sixteen maximum a posteriori estimates under
            logistic priors when None.
        optimizer: Makes the optimizer from the parameters; Adam with a learning rate of 0.005 when None.
        lr_scheduler: Makes the scheduler from the optimizer, stepped once an epoch. None: one cycle over the whole fit,
            stepped once a batch, peaking at the optimizer's learning rate.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    sees_context = False

    def __init__(
        self,
        *,
        width: int = 256,
        depth: int = 2,
        seasons: Mapping[str, int] | None = None,
        degree: int | Mapping[str, int] = 5,
        interactions: Sequence[Sequence[str]] = (),
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        optimizer: OptimizerCallable | None = None,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        predictor = bayesnf(
            width=width,
            depth=depth,
            seasons=seasons,
            degree=degree,
            interactions=interactions,
            likelihood=likelihood,
            inference=inference,
        )
        super().__init__(predictor=predictor, optimizer=optimizer, lr_scheduler=lr_scheduler)
