"""Predictor of CGLUBNF: a field that corrects a kriging, or one of coordinates and context alone."""

from __future__ import annotations

import inspect
from typing import Any

from stgate.prediction.field.kriged import KrigedFieldPredictor
from stgate.prediction.field.predictor import FieldPredictor


def cglubnf(*, kriging: bool = True, **options: Any) -> FieldPredictor:  # noqa: ANN401
    """Make the predictor of a `CGLUBNF`.

    Args:
        kriging: Correct a kriging of the nearest observations in space and time.
        **options: Options of `FieldPredictor`.
    """
    return KrigedFieldPredictor(**options) if kriging else FieldPredictor(**options)


_own = inspect.Parameter("kriging", inspect.Parameter.KEYWORD_ONLY, default=True, annotation="bool")
cglubnf.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [_own, *inspect.signature(FieldPredictor).parameters.values()]
)
