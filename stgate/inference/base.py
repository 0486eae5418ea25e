"""How weights become distributions: what the base of all forecasters asks of an inference."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import Configured
from stgate.distributions.mixture import Mixture
from stgate.inference.members import Members


class Inference(Configured, ABC):
    """A way from data to weights; it has options but no weights."""

    @abstractmethod
    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """A network whose outputs have an axis of members before all others, made of as many as `build` is called."""

    @abstractmethod
    def objective(self, loss: Tensor, network: nn.Module, cases: int) -> Tensor:
        """What training minimises, in units of the loss of one case.

        Args:
            loss: Mean negative log-likelihood over cases and members.
            network: What `wrap` made.
            cases: Observed values in the training part, which a prior is weighed against.
        """

    def predictive(self, members: Distribution) -> Distribution:
        """What the members (member, ...) predict together: (...)."""
        return Mixture(members)

    def clip_gradients(self, network: nn.Module, limit: float) -> bool:
        """Clip the norm of each member's gradient apart; False where there is but one, to be clipped as usual."""
        if isinstance(network, Members):
            network.clip_gradients(limit)
        return isinstance(network, Members)


class PointEstimate(Inference):
    """One set of weights: maximum likelihood."""

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """The network itself, without an axis of members."""
        return build()

    def objective(self, loss: Tensor, network: nn.Module, cases: int) -> Tensor:
        """The loss."""
        return loss

    def predictive(self, members: Distribution) -> Distribution:
        """The one there is."""
        return members
