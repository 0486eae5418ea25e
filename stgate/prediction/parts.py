"""Options of forecasters that are objects, of which a checkpoint holds the class name and plain options."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from stgate._configured import Configured
from stgate.distributions import anomaly  # noqa: F401 (its transform is one of the family)
from stgate.distributions.difference import Difference
from stgate.distributions.likelihoods import Likelihood
from stgate.distributions.transforms import Transform
from stgate.errors import RequestError, did_you_mean
from stgate.inference.base import Inference
from stgate.nn.gated.rollout import RollOut

FAMILIES: dict[str, type[Configured]] = {"likelihood": Likelihood, "inference": Inference, "rollout": RollOut}
"""Families of parts by the name of the option."""


def check_part(name: str, part: object) -> None:
    """Refuse an object that is not a part of its family; a rollout may be None.

    Args:
        name: The name of the option.
        part: The option's value.

    Raises:
        RequestError: The object is of another kind.
    """
    family = FAMILIES[name]
    if not isinstance(part, family) and not (part is None and family is RollOut):
        example, article = list(family.kinds())[-1], "an" if name == "inference" else "a"
        raise RequestError(
            f"{name} {part!r}: not {article} {name}; give an object such as "
            f"{family.__module__.split('.')[1]}.{example}()"
        )


def check_transforms(transforms: Sequence[Transform] | None) -> tuple[Transform, ...]:
    """Return transforms as a tuple.

    Args:
        transforms: Transforms, in the order in which they encode; None for none.

    Raises:
        RequestError: An object is no transform, or a difference is not the last one.
    """
    if isinstance(transforms, str):
        raise RequestError(f"transforms {transforms!r}: {did_you_mean(transforms, ['auto'])}, or a list of transforms")
    if not isinstance(transforms, Iterable | Transform | None):
        raise RequestError(f"transforms {transforms!r}: not a list of transforms; give objects such as [Log()]")
    kept = tuple(transforms or ()) if not isinstance(transforms, Transform) else (transforms,)
    for transform in kept:
        if not isinstance(transform, Transform):
            raise RequestError(f"transforms {transform!r}: not a transform; give objects such as distributions.Log()")
    if any(isinstance(transform, Difference) for transform in kept[:-1]):
        raise RequestError("transforms: Difference must be the last of them")
    return kept


def plain_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return options with their parts as plain containers."""

    def plain(value: Any) -> Any:  # noqa: ANN401 (any option)
        if isinstance(value, tuple | list):
            return [plain(one) for one in value]
        return value.config() if isinstance(value, Configured) else value

    return {name: plain(value) for name, value in options.items()}


def completed_part(name: str, given: Any) -> Any:  # noqa: ANN401 (any option)
    """Return the plain value of an option; that of a part with its class name and all its options.

    Args:
        name: Name of the option.
        given: Its value, a part as the command line or a checkpoint holds it.
    """
    given = given.as_dict() if hasattr(given, "as_dict") else given
    if name == "transforms" and given != "auto":
        held = [one.as_dict() if hasattr(one, "as_dict") else one for one in given or ()]
        return [Transform.from_config(one).config() for one in held] or None
    return FAMILIES[name].from_config(given).config() if name in FAMILIES and isinstance(given, dict) else given


def options_of(plain: dict[str, Any]) -> dict[str, Any]:
    """Return options with their parts built from plain values, as a checkpoint holds them."""
    kept = {name: value for name, value in plain.items() if not name.startswith("_")}
    made: dict[str, Any] = {n: family.from_config(kept[n]) for n, family in FAMILIES.items() if kept.get(n)}
    if kept.get("transforms") and kept["transforms"] != "auto":
        made["transforms"] = [Transform.from_config(held) for held in kept["transforms"]]
    return kept | made
