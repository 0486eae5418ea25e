"""Variational inference: each weight has a normal posterior of its own."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from stgate.errors import RequestError
from stgate.inference.base import Inference
from stgate.inference.members import Members, Weights, check_members
from stgate.inference.priors import check_prior, expected_log_prior

RHO = "_posterior_rho"
"""Ending of the name under which a weight's spread stands beside it: spread = MIN_SPREAD + softplus(rho)."""
MIN_SPREAD = 1e-4


class MeanField(Inference):
    """Independent normal posteriors of all weights, fitted by the evidence lower bound.

    While training, weights are drawn anew for each batch; a forecast is the mixture over draws that are the same for
    all its windows, and the same each time.

    Args:
        members: Posteriors, from starts of their own.
        samples: Draws of each a training step.
        draws: Draws of each that a forecast is made of.
        prior: Of all weights: `normal` or `logistic`.
        prior_scale: Its scale.
        kl_weight: Weight of the divergence from the prior; below 1 the posterior is colder than Bayes' rule says.
        initial_spread: Standard deviation of each weight to begin with.
        local: Draw what linear layers give out, one draw a case, rather than their weights, one draw a batch: gradients
            are less noisy. Other layers draw weights.
        vectorized: See `Ensemble`.

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
        prior: str = "normal",
        prior_scale: float = 1.0,
        kl_weight: float = 1.0,
        initial_spread: float = 0.01,
        local: bool = False,
        vectorized: bool = True,
    ) -> None:
        check_members(members)
        check_prior(prior, prior_scale)
        for name, value in (("samples", samples), ("draws", draws)):
            if value < 1:
                raise RequestError(f"{name} {value}: at least 1")
        if not kl_weight >= 0:
            raise RequestError(f"kl_weight {kl_weight:g}: at least 0")
        if not initial_spread > MIN_SPREAD:
            raise RequestError(f"initial_spread {initial_spread:g}: must be above {MIN_SPREAD:g}")
        self.members, self.samples, self.draws, self.local = members, samples, draws, local
        self.prior, self.prior_scale, self.kl_weight = prior, prior_scale, kl_weight
        self.initial_spread, self.vectorized = initial_spread, vectorized

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """See `Posteriors`."""
        return Posteriors(build, self)

    def objective(self, loss: Tensor, network: nn.Module, cases: int) -> Tensor:
        """The negative evidence lower bound, summed over posteriors."""
        assert isinstance(network, Posteriors)
        return loss * self.members + self.kl_weight * network.divergence() / cases


class Posteriors(Members):
    """Networks whose weights are drawn: the mean of each under its own name, its spread beside it.

    Args:
        build: Makes a network; called once a member.
        options: Those of the inference.

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
        rho = math.log(math.expm1(options.initial_spread - MIN_SPREAD))
        made: dict[Tensor, nn.Parameter] = {}
        for module in list(self.network.modules()):
            for name, weight in list(module.named_parameters(recurse=False)):
                if weight.requires_grad:
                    made.setdefault(weight, nn.Parameter(torch.full_like(weight, rho)))
                    module.register_parameter(name + RHO, made[weight])

    def drawn(self) -> Weights:
        """Draws of all weights, (draw * member, ...): anew at each call while training, the same ones otherwise."""
        count = self.options.samples if self.training else self.options.draws
        held = self.weights()
        device = next(iter(held.values())).device
        generator = None if self.training else torch.Generator(device).manual_seed(0)
        by_layer = self._by_layer() if self.training else set()
        made: Weights = {}
        for name, mean in held.items():
            if name.endswith(RHO) and name.removesuffix(RHO) not in by_layer:
                continue
            repeated = mean.expand(count, *mean.shape)
            if name + RHO in held and name not in by_layer:
                noise = torch.randn(repeated.shape, generator=generator, device=device, dtype=mean.dtype)
                repeated = mean + _spread(held[name + RHO]) * noise
            made[name] = repeated.flatten(0, 1)
        return made

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence of the posteriors from the prior, summed over weights and members."""
        total, options = [], self.options
        held = dict(self.network.named_parameters())
        for name, mean in held.items():
            if name + RHO in held:
                spread = _spread(held[name + RHO])
                entropy = spread.log().sum() + 0.5 * mean.numel() * math.log(2 * math.pi * math.e)
                total.append(-entropy - expected_log_prior(options.prior, mean, spread, options.prior_scale))
        return torch.stack(total).sum()

    def _by_layer(self) -> set[str]:
        """Weights whose layers draw for themselves."""
        layers = ((n, m) for n, m in self.network.named_modules() if isinstance(m, LocalLinear))
        return {f"{n}.{name}".lstrip(".") for n, m in layers for name in ("weight", "bias")}


class LocalLinear(nn.Linear):
    """A linear layer that, while training, draws its outputs: normal, of the mean and spread that its weights imply."""

    weight_posterior_rho: Tensor
    bias_posterior_rho: Tensor

    @classmethod
    def of(cls, layer: nn.Linear) -> LocalLinear:
        """One with the weights of a plain layer."""
        made = cls(layer.in_features, layer.out_features, layer.bias is not None, device="meta")
        made.weight, made.bias = layer.weight, layer.bias
        return made

    def forward(self, input: Tensor) -> Tensor:
        """(..., in) -> (..., out)."""
        mean = super().forward(input)
        if not self.training:
            return mean
        by_bias = None if self.bias is None else _spread(self.bias_posterior_rho).square()
        variance = linear(input.square(), _spread(self.weight_posterior_rho).square(), by_bias)
        return mean + (variance + 1e-12).sqrt() * torch.randn_like(mean)


def _with_local_linear(network: nn.Module) -> nn.Module:
    """The network with its plain linear layers made local."""
    if type(network) is nn.Linear:
        return LocalLinear.of(network)
    made: dict[nn.Module, LocalLinear] = {}
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if type(child) is nn.Linear:
                setattr(module, name, made.setdefault(child, LocalLinear.of(child)))
    return network


def _spread(rho: Tensor) -> Tensor:
    return MIN_SPREAD + softplus(rho)
