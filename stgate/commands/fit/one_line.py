"""Lightning's parser and its words, made short: errors in one line, known warnings left out."""

from __future__ import annotations

import logging
import warnings
from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from stgate.commands.fit.messages import tidy
from stgate.commands.parser import NEGATIVE
from stgate.errors import StgateError


class OneLineParser(LightningArgumentParser):
    """Lightning's parser, its errors one helpful line."""

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 (Lightning's)
        super().__init__(*arguments, **options)
        self._negative_number_matcher = NEGATIVE

    def add_class_arguments(self, *arguments: Any, **options: Any) -> list[str]:  # noqa: ANN401 (Lightning's)
        """Add a class's arguments like Lightning, but treat the name of an existing file as a value, not a config."""
        names: list[str] = super().add_class_arguments(*arguments, **{**options, "sub_configs": False})
        return names

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise instead of printing usage and exiting.

        Args:
            message: The parser's message.
            ex: The exception behind it.

        Raises:
            StgateError: Always; a ValueError would be caught and reworded by a parser around this one.
        """
        raise StgateError(tidy(message, self))


def ignore_known() -> None:
    """Ignore warnings of Lightning about what is done on purpose, or said in our own words."""
    for text in (
        ".*does not have many workers.*",
        ".*Checkpoint directory.*",
        ".*Experiment logs directory.*",
        ".*callbacks used to create the checkpoint.*",
        ".*could not find the monitored key.*",  # no epoch is validated: said at the end
        ".*Total length of .* across ranks is zero.*",  # of the validation, in the fit on all rows
        ".*You requested to overfit.*",  # the order of the batches is then fixed, as it has to be
        ".*dirpath has changed.*",  # a fit that goes on in another folder has no best epoch there
        ".*in eval mode at the start of training.*",  # a language model, which stays as it is
    ):
        warnings.filterwarnings("ignore", message=text)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
