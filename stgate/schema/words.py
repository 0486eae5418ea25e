"""Options that are words, and times in words: what their text alone tells. Commands check them first: no numpy."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Literal, get_args

from stgate.errors import PanelError, RequestError, check_counts, check_number, did_you_mean

Mode = Literal["stored", "rolling", "adaptive"]
"""Ways to calibrate a backtest."""
CalibrationMode = Literal["auto", "split", "cross", "refit"]
"""Ways to calibrate a fit."""
ConformityScore = Literal["scaled", "residual", "quantile", "distribution"]
"""Conformity scores: `scaled` is |y - median| / standard deviation, `residual` is |y - median|, `quantile` is the
distance of y from the forecast's own interval (negative inside), `distribution` is the size of the normal score
Φ⁻¹(F(y)), where F is the forecast's distribution function."""
CONFORMITY_SCORES: tuple[ConformityScore, ...] = get_args(ConformityScore)
GROUPS = ("lead_time", "node", "init_time", "member", "observed")
"""Groups that scores can be split by, in addition to node coordinates."""
Pattern = Literal["point", "block", "outage", "spatial_block", "spatiotemporal_block", "value_dependent"]
"""Patterns of entries that are masked."""
PATTERNS: tuple[Pattern, ...] = get_args(Pattern)
YEAR_FIRST = r"\d{4}(-|$|T)"
"""Beginning of a time in words."""
OPTIONS = {"start": "start (--from)", "end": "end (--to)"}
"""Names of the options that give times, in Python and on the command line."""


def check_backtest(every: int, calibration_window: int, calibration: str) -> None:
    """Refuse options of a backtest that are out of range.

    Args:
        every: Number of steps between origins.
        calibration_window: Number of origins whose conformity scores are used.
        calibration: Source of the intervals.

    Raises:
        RequestError: An option is out of range.
    """
    check_counts(every=(every, 1), calibration_window=(calibration_window, 2))
    if calibration not in get_args(Mode):
        raise RequestError(f"calibration {calibration!r}: {did_you_mean(calibration, get_args(Mode))}")


def check_conformity_score(name: str | None) -> None:
    """Refuse a conformity score that is none.

    Args:
        name: Its name; None for the forecaster's own.

    Raises:
        RequestError: There is no such score.
    """
    if name is not None and name not in CONFORMITY_SCORES:
        raise RequestError(f"conformity_score {name!r}: {did_you_mean(name, CONFORMITY_SCORES)}")


def check_bootstrap(samples: object) -> None:
    """Refuse a number of resamples from which no interval follows.

    Args:
        samples: The number; 0 for none.

    Raises:
        RequestError: It is no whole number, is negative, or is one.
    """
    if not isinstance(samples, Integral) or samples < 0 or samples == 1:
        raise RequestError(f"bootstrap {samples}: must be at least 2, or 0 for none")


def check_split(split: Sequence[float | str]) -> None:
    """Refuse a split that has neither form.

    Args:
        split: Four fractions, or three times.

    Raises:
        RequestError: It is neither, or the fractions do not add up to 1.
    """
    if len(split) == 4 and all(isinstance(s, int | float) for s in split):
        shares = [float(s) for s in split]
        if min(shares) < 0 or shares[0] == 0 or not abs(sum(shares) - 1) <= 1e-6:
            raise RequestError(
                f"split {shown(split)}: four fractions must add up to 1, and the first must be above zero"
            )
    elif len(split) != 3:
        raise RequestError(
            f"split {shown(split)}: give four fractions (training, validation, calibration, test), "
            "or three times at which validation, calibration and test start"
        )


def shown(split: Sequence[float | str]) -> str:
    """Return a split as text."""
    return f"[{', '.join(map(str, split))}]"


def check_automatic(budget: float | None, calibration: str) -> None:
    """Refuse a budget or a way to calibrate that there is not.

    Args:
        budget: Minutes that the whole may take; None for the default.
        calibration: The way to calibrate.

    Raises:
        RequestError: An option is out of range.
    """
    if calibration not in get_args(CalibrationMode):
        raise RequestError(f"calibration {calibration!r}: {did_you_mean(calibration, get_args(CalibrationMode))}")
    if budget is not None and not budget > 0:
        raise RequestError(f"budget {budget:g}: must be above zero, in minutes")


def no_variable(name: str, have: Iterable[str]) -> PanelError:
    """Return the error on a variable that a panel lacks.

    Args:
        name: The variable.
        have: The panel's variables.
    """
    return PanelError(f"`{name}`: the panel has no such variable; {did_you_mean(name, sorted(have))}")


def check_mask(pattern: str, rate: float, seed: int) -> None:
    """Refuse options of a mask that are out of range.

    Args:
        pattern: Pattern of the masked entries.
        rate: Share of the observed entries.
        seed: Seed of the mask.

    Raises:
        RequestError: An option is out of range.
    """
    if pattern not in PATTERNS:
        raise RequestError(f"pattern {pattern!r}: {did_you_mean(pattern, PATTERNS)}")
    check_number("rate", rate)
    if not 0 <= rate <= 1:
        raise RequestError(f"rate {rate:g}: must be a share, between 0 and 1")
    check_counts(seed=(seed, 0))


def check_time(name: Literal["start", "end"], when: str | float | None) -> None:
    """Refuse a text that is a time on no panel: neither a number nor a date, written year first.

    Args:
        name: Name of the option, for the message.
        when: The time; None if it is not given.

    Raises:
        RequestError: It is no time.
    """
    text = str(when).strip()
    if when is None or _is_number(text):
        return
    why = "" if re.match(YEAR_FIRST, text) else "write times year first, such as 2016-03-01T12:00"
    if not why and (found := re.match(r"(\d{4})-(\d\d)(?:-(\d\d))?(?=$|[T ])", text)):
        try:
            datetime.date(*(int(part or 1) for part in found.groups()))
        except ValueError as error:
            why = f"{error}; write times such as 2016-03-01T12:00"
    if why:
        raise RequestError(f"{OPTIONS[name]} {when}: not a time ({why})")


def _is_number(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(re.match(r"[-+]?[\d.]", text)) and float(text) == float(text)
    return False
