"""BayesNF: the Bayesian neural field that CGLUBNF grew from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from stgate.distributions.likelihoods import Likelihood
from stgate.inference.base import Inference
from stgate.inference.ensemble import Ensemble
from stgate.models.cglubnf import CGLUBNF


class BayesNF(CGLUBNF):
    """A Bayesian neural field: Fourier features and seasons through layers with one learned activation.

    It is `CGLUBNF` with graph, gates and residuals off and one activation for all layers; targets are not standardised,
    and the noise is one number.

    Args:
        width: Of the hidden layers.
        depth: How many.
        seasons: See `CGLUBNF`.
        degree: See `CGLUBNF`.
        interactions: See `CGLUBNF`.
        likelihood: See `CGLUBNF`; `NegativeBinomial` and `ZeroInflatedNegativeBinomial` for counts.
        inference: See `Forecaster`; an ensemble of sixteen maximum a posteriori estimates under logistic priors when
            None.
        optimizer: See `Forecaster`; a learning rate of 0.005 is usual.
        lr_scheduler: See `Forecaster`.

    References:
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    standardized: ClassVar[bool] = False

    def __init__(
        self,
        width: int = 256,
        depth: int = 2,
        seasons: Mapping[str, int] | None = None,
        degree: int | Mapping[str, int] = 5,
        interactions: Sequence[Sequence[str]] = (),
        likelihood: Likelihood | None = None,
        inference: Inference | None = None,
        optimizer: OptimizerCallable = torch.optim.Adam,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(
            width,
            depth,
            seasons,
            degree,
            interactions,
            activation="shared",
            gate=False,
            residual="none",
            graph=0,
            heads=1,
            varying=False,
            likelihood=likelihood,
            inference=inference or Ensemble(members=16, prior="logistic"),
            optimizer=optimizer,
            lr_scheduler=lr_scheduler,
        )
