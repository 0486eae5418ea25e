"""Options of forecasters that are parts, of which a checkpoint holds the name; what several forecasters refuse."""

from __future__ import annotations

from stgate._configured import Configured
from stgate.data.window_data import WindowData
from stgate.distributions.likelihoods import Likelihood
from stgate.errors import RequestError
from stgate.inference.base import Inference
from stgate.nn.gated.rollout import RollOut

FAMILIES: dict[str, type[Configured]] = {"likelihood": Likelihood, "inference": Inference, "rollout": RollOut}
"""By the name of the option."""


def check_part(name: str, part: object) -> None:
    """Refuse what is not a part of its family; a roll-out may be None.

    Raises:
        RequestError: Not one.
    """
    family = FAMILIES[name]
    if not isinstance(part, family) and not (part is None and family is RollOut):
        example = list(family.kinds())[-1]
        raise RequestError(
            f"{name} {part!r}: not one; give an object such as {family.__module__.split('.')[1]}.{example}()"
        )


def check_leads(data: WindowData) -> None:
    """Refuse training windows of fewer leads, of a forecaster that gives all of them out at once.

    Raises:
        RequestError: They are fewer.
    """
    if data.train_horizon < data.horizon:
        raise RequestError(
            f"train_horizon {data.train_horizon}: all {data.horizon} leads are forecast at once; leave it out"
        )
