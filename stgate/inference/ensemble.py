"""Ensembles: several networks with different starting weights."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stgate._configured import check_options
from stgate.inference.base import Inference
from stgate.inference.members import Members, check_members
from stgate.inference.priors import Prior, check_prior, log_prior


class Ensemble(Inference):
    """Networks that differ in their starting weights and see the same batches; their forecasts form a mixture.

    With a prior each member is a maximum a posteriori estimate, without one a maximum likelihood estimate. The loss is
    a mean over observed values, so the log prior is divided by the number of observed training values. An optimizer's
    own weight decay is added to that.

    Args:
        members: Number of members.
        prior: Prior of all weights: `logistic`, `normal`, or None for maximum likelihood.
        prior_scale: Scale of the prior.
        vectorized: Evaluate all members in one pass; networks that cannot be vectorised (GRU, LSTM) are evaluated one
            after another.

    Raises:
        RequestError: An option is out of range.

    References:
        Lakshminarayanan, Pritzel, Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
        ensembles. NeurIPS.
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    def __init__(
        self, members: int = 8, prior: Prior | None = None, prior_scale: float = 1.0, vectorized: bool = True
    ) -> None:
        check_options(Ensemble.__init__, locals())
        check_members(members)
        check_prior(prior, prior_scale)
        self.members, self.prior, self.prior_scale, self.vectorized = members, prior, prior_scale, vectorized

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Build the member networks as one `Members`; outputs gain a leading member axis."""
        return Members(build, self.members, vectorized=self.vectorized)

    def objective(self, loss: Tensor, network: nn.Module, n_observations: int) -> Tensor:
        """Compute the sum over members of loss and prior: each member gets the gradient of a single network.

        Args:
            loss: Mean negative log-likelihood over observed values and members, a scalar.
            network: The member networks.
            n_observations: Number of observed values in the training part, by which the log prior is divided.
        """
        total = loss * self.members
        if self.prior is None:
            return total
        densities = [log_prior(self.prior, w, self.prior_scale) for w in network.parameters() if w.requires_grad]
        return total - torch.stack(densities).sum() / n_observations
