"""Predictor of CGLUBNF: a field that corrects a kriging, or one of coordinates and context alone."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from stgate._configured import check_options
from stgate.distributions.transforms import Auto, Transform
from stgate.errors import RequestError
from stgate.inference.base import Inference
from stgate.inference.ensemble import Ensemble
from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.prediction.field.predictor import FieldPredictor


def cglubnf(
    *,
    kriging: bool = True,
    width: int | None = None,
    inference: Inference | None = None,
    transforms: Sequence[Transform] | Auto | None = "auto",
    **options: Any,  # noqa: ANN401
) -> FieldPredictor:
    """Make the predictor of a `CGLUBNF`.

    Args:
        kriging: Correct a kriging of the nearest observations in space and time.
        width: Width of the hidden layers. None: 32 with kriging, else 128.
        inference: The inference of the weights. None: an ensemble of maximum a posteriori estimates under logistic
            priors, of four members with kriging, else of eight.
        transforms: Transforms of the targets, in the order in which they are applied; `auto` chooses them from the
            training part, None is for none. Only a field with kriging has them.
        **options: Options of `FieldPredictor`.

    Raises:
        RequestError: There are transforms without kriging.
    """
    check_options(cglubnf, locals())
    inference = inference or Ensemble(members=4 if kriging else 8, prior="logistic")
    if not kriging and transforms not in (None, "auto", ()):
        raise RequestError("transforms: need kriging, which knows the climatology of new places; leave one of both out")
    kind = KrigedFieldPredictor if kriging else FieldPredictor
    width = (32 if kriging else 128) if width is None else width
    return kind(width=width, inference=inference, transforms=transforms, **options)


_made, _taken = inspect.signature(cglubnf).parameters, inspect.signature(FieldPredictor).parameters
cglubnf.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [option for name, option in {**_taken, **_made}.items() if name != "options"]
)
