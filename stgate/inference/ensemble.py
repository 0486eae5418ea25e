"""Ensembles: several networks from several starts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from stgate.inference.base import Inference
from stgate.inference.members import Members, check_members
from stgate.inference.priors import check_prior, log_prior


class Ensemble(Inference):
    """Networks that differ in their starting weights and see the same batches; their forecasts form a mixture.

    With a prior each member is a maximum a posteriori estimate, without one of maximum likelihood. The prior weighs as
    much as the likelihood of one case in as many as there are observed values in the training part. An optimizer's own
    weight decay comes on top.

    Args:
        members: How many.
        prior: Of all weights: `logistic`, `normal`, or None for maximum likelihood.
        prior_scale: Its scale.
        vectorized: All members in one pass; layers that cannot be vectorised (GRU, LSTM) run one after another.

    Raises:
        RequestError: An option is out of range.

    References:
        Lakshminarayanan, Pritzel, Blundell (2017), Simple and scalable predictive uncertainty estimation using deep
        ensembles. NeurIPS.
        Saad et al. (2024), Scalable spatiotemporal prediction with Bayesian neural fields. Nature Communications 15.
    """

    def __init__(
        self, members: int = 8, prior: str | None = None, prior_scale: float = 1.0, vectorized: bool = True
    ) -> None:
        check_members(members)
        check_prior(prior, prior_scale)
        self.members, self.prior, self.prior_scale, self.vectorized = members, prior, prior_scale, vectorized

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """See `Members`."""
        return Members(build, self.members, vectorized=self.vectorized)

    def objective(self, loss: Tensor, network: nn.Module, cases: int) -> Tensor:
        """The sum over members, so that each has the gradient that it would have alone."""
        total = loss * self.members
        if self.prior is None:
            return total
        densities = [log_prior(self.prior, w, self.prior_scale) for w in network.parameters() if w.requires_grad]
        return total - torch.stack(densities).sum() / cases
