"""The base of all inferences: it builds the network, adds to the training loss, and combines members' forecasts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from torch import Tensor, nn
from torch.distributions import Distribution

from stgate._configured import Configured
from stgate.distributions.mixture import Mixture
from stgate.inference.members import Members


class Inference(Configured, ABC):
    """A method of inference of a network's weights; it has options but no weights of its own."""

    @abstractmethod
    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Build the member networks; outputs gain a leading member axis.

        Args:
            build: A function that makes one network, called once a member.

        Returns:
            One module that evaluates all members.
        """

    @abstractmethod
    def objective(self, loss: Tensor, network: nn.Module, n_observations: int) -> Tensor:
        """Compute the training objective, in units of the loss of one observed value.

        Args:
            loss: Mean negative log-likelihood over observed values and members, a scalar.
            network: The module that `wrap` returned.
            n_observations: Number of observed values in the training part, by which the log prior is divided.

        Returns:
            A scalar.
        """

    def predictive(self, members: Distribution) -> Distribution:
        """Combine the members' forecasts (member, ...) into one: (...)."""
        return Mixture(members)

    def clip_gradients(self, network: nn.Module, limit: float) -> bool:
        """Clip the norm of each member's gradient by itself.

        Args:
            network: The module that `wrap` returned.
            limit: The largest norm.

        Returns:
            False if there is a single network, which the caller clips as usual.
        """
        if isinstance(network, Members):
            network.clip_gradients(limit)
        return isinstance(network, Members)


class PointEstimate(Inference):
    """One set of weights: maximum likelihood."""

    def wrap(self, build: Callable[[], nn.Module]) -> nn.Module:
        """Build the network itself; outputs have no member axis."""
        return build()

    def objective(self, loss: Tensor, network: nn.Module, n_observations: int) -> Tensor:
        """Return the loss as it is: there is no prior."""
        return loss

    def predictive(self, members: Distribution) -> Distribution:
        """Return the forecast of the single network."""
        return members
