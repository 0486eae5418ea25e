"""Variational inference: an independent normal posterior of each weight."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from stgate._configured import check_options
from stgate.errors import RequestError, check_counts
from stgate.inference.base import Inference
from stgate.inference.members import Members, Weights, check_members
from stgate.inference.priors import Prior, check_prior, expected_log_prior

RHO = "_posterior_rho"
"""Suffix of the parameter beside a weight that holds rho; the posterior standard deviation of the weight is
MIN_STDDEV + softplus(rho)."""
MIN_STDDEV = 1e-4


class MeanField(Inference):
    """Independent normal posteriors of all weights, fitted by the evidence lower bound.

    In training, new weights are drawn for each batch. A forecast is the mixture over draws, which are the same for all
    windows and for each forecast.

    Args:
        members: Number of posteriors, with different starting weights.
        samples: Number of draws from each posterior in a training step.
        draws: Number of draws from each posterior in a forecast.
        prior: Prior of all weights: `normal` or `logistic`.
        prior_scale: Scale of the prior.
        kl_weight: Weight of the divergence from the prior; below 1 the posterior is narrower than Bayes' rule gives.
        initial_stddev: Standard deviation of each weight's posterior before training.
        local: In linear layers draw the outputs, one draw for each row, in place of the weights, one draw for each
            batch: gradients are less noisy. Other layers draw weights.
        vectorized: Evaluate all draws in one pass; networks that cannot be vectorised (GRU, LSTM) are evaluated one
            after another.

    Raises:
        RequestError: An option is out of range.

    References:
        Blundell et al. (2015), Weight uncertainty in neural networks. ICML.
        Kingma, Salimans, Welling (2015), Variational dropout and the local reparameterization trick. NeurIPS.
    """

    def __init__(
        self,
        members: int = 1,
        samples: int = 2,
        draws: int = 16,
        prior: Prior = "normal",
        prior_scale: float = 1.0,
        kl_weight: float = 1.0,
        initial_stddev: float = 0.01,
        local: bool = False,
        vectorized: bool = True,
    ) -> None:
        check_options(MeanField.__init__, locals())
        check_members(members)
        check_prior(prior, prior_scale)
        check_counts(samples=(samples, 1), draws=(draws, 1))
        if not kl_weight >= 0:
            raise RequestError(f"kl_weight {kl_weight:g}: must not be negative")
        if not initial_stddev > MIN_STDDEV:
            raise RequestError(f"initial_stddev {initial_stddev:g}: must be above {MIN_STDDEV:g}")
        self.members, self.samples, self.draws, self.local = members, samples, draws, local
        self.prior, self.prior_scale, self.kl_weight = prior, prior_scale, kl_weight
        self.initial_stddev, self.vectorized = initial_stddev, vectorized

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Build the member networks as one `Posteriors`; outputs gain a leading axis of draws and members."""
        return Posteriors(build, self)

    def objective(self, loss: Tensor, network: nn.Module, n_observations: int) -> Tensor:
        """Compute the negative evidence lower bound for each observed value, summed over posteriors.

        Args:
            loss: Mean negative log-likelihood over observed values and draws, a scalar.
            network: The posteriors.
            n_observations: Number of observed values in the training part, by which the divergence is divided.
        """
        assert isinstance(network, Posteriors)
        return loss * self.members + self.kl_weight * network.divergence() / n_observations


class Posteriors(Members):
    """Networks whose weights are drawn: the mean of each has the weight's name, and its rho is a parameter beside it.

    Args:
        build: A function that makes one network, called once a member.
        options: The inference, whose options hold.

    Raises:
        RequestError: A layer keeps running statistics, which belong to one set of weights.
    """

    def __init__(self, build: Callable[[], nn.Module], options: MeanField) -> None:
        def prepared() -> nn.Module:
            network = build()
            for module in network.modules():
                if isinstance(module, nn.modules.batchnorm._NormBase) and module.track_running_stats:
                    raise RequestError(
                        f"MeanField: {type(module).__name__} keeps running statistics of one set of weights; "
                        "use LayerNorm, or an Ensemble"
                    )
            return _with_local_linear(network) if options.local else network

        super().__init__(prepared, options.members, vectorized=options.vectorized)
        self.options = options
        rho = math.log(math.expm1(options.initial_stddev - MIN_STDDEV))
        rhos: dict[Tensor, nn.Parameter] = {}
        for module in list(self.network.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.requires_grad:
                    rhos.setdefault(weight, nn.Parameter(torch.full_like(weight, rho)))
                    module.register_parameter(name + RHO, rhos[weight])

    def drawn(self) -> Weights:
        """Draw all weights, (draw * member, ...): new ones at each call in training, otherwise always the same."""
        count = self.options.samples if self.training else self.options.draws
        held = self.weights()
        device = next(iter(held.values())).device
        generator = None if self.training else torch.Generator(device).manual_seed(0)
        by_layer = self._by_layer() if self.training else set()
        drawn: Weights = {}
        for name, mean in held.items():
            if name.endswith(RHO) and name.removesuffix(RHO) not in by_layer:
                continue
            repeated = mean.expand(count, *mean.shape)
            if name + RHO in held and name not in by_layer:
                noise = torch.randn(repeated.shape, generator=generator, device=device, dtype=mean.dtype)
                repeated = mean + _stddev(held[name + RHO]) * noise
            drawn[name] = repeated.flatten(0, 1)
        return drawn

    def divergence(self) -> Tensor:
        """Compute the Kullback-Leibler divergence from the prior, summed over weights and members."""
        total, options = [], self.options
        held = dict(self.network.named_parameters())
        for name, mean in held.items():
            if name + RHO in held:
                stddev = _stddev(held[name + RHO])
                entropy = stddev.log().sum() + 0.5 * mean.numel() * math.log(2 * math.pi * math.e)
                total.append(-entropy - expected_log_prior(options.prior, mean, stddev, options.prior_scale))
        return torch.stack(total).sum()

    def _by_layer(self) -> set[str]:
        """Return the names of the weights of layers that draw their outputs."""
        layers = ((n, m) for n, m in self.network.named_modules() if isinstance(m, LocalLinear))
        return {f"{n}.{name}".lstrip(".") for n, m in layers for name in ("weight", "bias")}


class LocalLinear(nn.Linear):
    """A linear layer that draws its outputs in training: normal, with the mean and variance that its weights imply."""

    weight_posterior_rho: Tensor
    bias_posterior_rho: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> LocalLinear:
        """Make such a layer with the weights of a plain one."""
        local = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        local.weight, local.bias = layer.weight, layer.bias
        return local

    def forward(self, input: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        mean = super().forward(input)
        if not self.training:
            return mean
        by_bias = None if self.bias is None else _stddev(self.bias_posterior_rho).square()
        variance = linear(input.square(), _stddev(self.weight_posterior_rho).square(), by_bias)
        return mean + (variance + 1e-12).sqrt() * torch.randn_like(mean)


def _with_local_linear(network: nn.Module) -> nn.Module:
    """Replace the plain linear layers of a network by layers that draw their outputs."""
    if type(network) is nn.Linear:
        return LocalLinear.of(network)
    local: dict[nn.Module, LocalLinear] = {}
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, local.setdefault(child, LocalLinear.of(child)))
    return network


def _stddev(rho: Tensor) -> Tensor:
    return MIN_STDDEV + softplus(rho)
