"""Options of forecasters that are parts: objects with options of their own, of which a checkpoint holds the name."""

from __future__ import annotations

from stgate.configured import Configured
from stgate.errors import RequestError
from stgate.inference.base import Inference
from stgate.nn.likelihoods import Likelihood
from stgate.nn.rollout import RollOut

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
