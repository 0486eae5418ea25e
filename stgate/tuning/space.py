"""Space of a search: options of a fit, each with its choices or a range."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import TYPE_CHECKING

from stgate.errors import RequestError

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
RANGE = re.compile(rf"({NUMBER})\.\.({NUMBER})(:log)?")
SPACES = {
    "GatedRNN": (
        *("model.hidden=16,32,64,128", "model.layers=1,2", "model.dropout=0..0.4"),
        *("model.node_embedding=0,8,16", "model.optimizer.lr=0.0005..0.02:log"),
    ),
    "GatedTransformer": (
        *("model.hidden=16,32,64,128", "model.layers=1,2,3", "model.dropout=0..0.4", "model.span=8,16,32"),
        *("model.node_embedding=0,8,16", "model.optimizer.lr=0.0005..0.02:log"),
    ),
    "STHSepNet": (
        *("model.hidden=16,32,64", "model.width=16,32,64", "model.dropout=0..0.4"),
        *("model.neighbours=5..30", "model.optimizer.lr=0.0005..0.02:log"),
    ),
    "CGLUBNF": ("model.width=32,64,128", "model.depth=1..3", "model.neighbours=3..12"),
    "BayesNF": ("model.width=64,128,256", "model.depth=1..3", "model.degree=2..8"),
    "GradientBoosting": ("model.trees=50..400", "model.learning_rate=0.03..0.3:log"),
}
"""Spaces that are searched where none is given, by forecaster."""


@dataclasses.dataclass(frozen=True)
class Dimension:
    """An option that is searched.

    Attributes:
        name: Name of the option, such as `model.hidden`.
        choices: Its values as they are typed; empty for a range.
        low: Smallest number of a range.
        high: Largest number of a range.
        whole: True if its numbers are whole.
        log: True if its numbers are drawn evenly by their logarithm.
    """

    name: str
    choices: tuple[str, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    log: bool = False

    @classmethod
    def parse(cls, text: str) -> Dimension:
        """Parse `NAME=A,B,C`, `NAME=LOW..HIGH` or `NAME=LOW..HIGH:log`.

        Args:
            text: The text.

        Raises:
            RequestError: It is none of these, or a range is empty.
        """
        name, equals, values = text.removeprefix("--").partition("=")
        if not equals or not re.fullmatch(r"[a-z_]\w*(\.\w+)+", name):
            raise RequestError(f"--search {text}: write it as NAME=A,B,C or NAME=LOW..HIGH, such as model.hidden=16,32")
        if found := RANGE.fullmatch(values):
            low, high, log = float(found[1]), float(found[2]), bool(found[3])
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise RequestError(f"--search {text}: the range is empty; give the smaller number first")
            if log and low <= 0:
                raise RequestError(f"--search {text}: a range by logarithm begins above zero")
            whole = all(re.fullmatch(r"[+-]?\d+", end) for end in found.groups()[:2])
            return cls(name, (), low, high, whole, log)
        if ".." in values:
            raise RequestError(f"--search {text}: a range is LOW..HIGH or LOW..HIGH:log, of numbers")
        choices = tuple(part.strip() for part in re.split(r",(?![^\[{(]*[\]})])", values))
        if len(choices) < 2 or len(set(choices)) < len(choices) or "" in choices:
            raise RequestError(f"--search {text}: give two choices or more, each once, with commas between")
        return cls(name, choices)

    def __str__(self) -> str:
        if self.choices:
            return f"{self.name}={','.join(self.choices)}"
        return f"{self.name}={self.low:g}..{self.high:g}{':log' if self.log else ''}"

    @property
    def ends(self) -> tuple[str, ...]:
        """The values that are tried before the search begins: all choices, or both ends of a range."""
        return self.choices or (self._typed(self.low), self._typed(self.high))

    def suggest(self, trial: BaseTrial) -> str:
        """Return the value of a trial, as it is typed."""
        if self.choices:
            return str(trial.suggest_categorical(self.name, self.choices))
        if self.whole:
            return str(trial.suggest_int(self.name, int(self.low), int(self.high), log=self.log))
        return self._typed(trial.suggest_float(self.name, self.low, self.high, log=self.log))

    def _typed(self, number: float) -> str:
        return str(int(number)) if self.whole else f"{number:.4g}"


def space(searched: list[str], model: str | None) -> list[Dimension]:
    """Parse the space of a search, or take the one of a forecaster.

    Args:
        searched: Dimensions as typed; empty for those of the forecaster.
        model: Name of the forecaster.

    Raises:
        RequestError: A dimension cannot be parsed or is given twice, or there are none.
    """
    found = [Dimension.parse(text) for text in searched or SPACES.get(model or "", ())]
    names = [one.name for one in found]
    if not found:
        raise RequestError(f"--search: {model or 'this forecaster'} has no space of its own; name options to search")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise RequestError(f"--search {twice}: given twice; give all its choices at once")
    return found
