"""Scores that are kept as they are made, so that a run that was stopped goes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.record import write


class Store(dict[str, Any]):
    """Scores below keys, in a JSON file that is written after each of them.

    A file among the results loses its record with the first score that is added; the end of the run writes a new one.

    Args:
        file: File of the scores, read if it is there.
        text: Function that formats all of them, in place of indented JSON.
    """

    def __init__(self, file: Path, text: Callable[[dict[str, Any]], str] | None = None) -> None:
        self.file, self.text, self.made = file, text or _indented, 0
        super().__init__(json.loads(file.read_text(encoding="utf-8")) if file.exists() else {})

    def once(self, *keys: str, make: Callable[[], Any]) -> Any:
        """Return the scores below keys, made and kept if they are not there.

        Args:
            keys: Place of the scores, outermost first.
            make: Function that makes them.
        """
        place: dict[str, Any] = self
        for key in keys[:-1]:
            place = place.setdefault(key, {})
        if keys[-1] not in place:
            place[keys[-1]] = make()
            self.made += 1
            write(self.file, self.text(self))
            (self.file.parent / "records" / self.file.name).unlink(missing_ok=True)
            print(*keys, json.dumps(place[keys[-1]]), flush=True)
        return place[keys[-1]]

    def reused(self, count: int) -> int:
        """Return how many of so many scores were there before."""
        return count - self.made


def _indented(scores: dict[str, Any]) -> str:
    return json.dumps(scores, indent=1) + "\n"
