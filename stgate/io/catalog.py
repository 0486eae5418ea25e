"""Cards of public data sets (source, licence, reader, split, published figures), and downloads of their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from stgate.errors import FetchError, RequestError, StoreError, did_you_mean
from stgate.io.store import cards_folder

Card = Mapping[str, Any]
REQUIRED = ("name", "title", "source", "licence", "citation", "reader", "split")
OPTIONAL = ("files", "by_hand", "graph", "published", "notes")
STANDING = ("read", "recalled", "computed")
"""Provenance of a published figure: read in its source, recalled from memory, or computed from the data by us."""


@cache
def cards() -> dict[str, Card]:
    """Return all cards that the package ships, by name.

    Raises:
        StoreError: A card is broken, or the installation lacks the cards.

    >>> "beijing_air" in cards()
    True
    """
    found = {}
    for path in sorted(cards_folder().glob("*/card.yaml")):
        card = yaml.safe_load(path.read_text(encoding="utf-8"))
        check_card(card, path)
        found[card["name"]] = card
    return found


def check_card(card: Any, path: Path) -> None:  # noqa: ANN401 (whatever YAML holds)
    """Refuse a card that lacks an entry or has an unknown one.

    Args:
        card: The content of a card's YAML file.
        path: The card's file.

    Raises:
        StoreError: The card is broken; the message names the file and the entry.
    """
    if not isinstance(card, dict):
        raise StoreError(f"{path}: not a card; a card is a mapping of entries")
    for key in REQUIRED:
        if not card.get(key):
            raise StoreError(f"{path}: `{key}` is missing")
    for key in card:
        if key not in (*REQUIRED, *OPTIONAL):
            raise StoreError(f"{path}: `{key}` is not an entry of a card; {did_you_mean(key, (*REQUIRED, *OPTIONAL))}")
    if card["name"] != path.parent.name:
        raise StoreError(f"{path}: `name` is {card['name']!r}, its folder is {path.parent.name!r}")
    for file in card.get("files", ()):
        if set(file) != {"name", "url", "sha256"} or Path(file["name"]).name != file["name"]:
            raise StoreError(
                f"{path}: `files`: each must have a plain name, a url and a sha256 (null where none is known)"
            )
    for figure in card.get("published", ()):
        if set(figure) != {"figure", "standing"} or str(figure["standing"]).split()[0] not in STANDING:
            raise StoreError(f"{path}: `published`: each must have a figure and its standing, {', '.join(STANDING)}")


def find_card(name: str) -> Card:
    """Return a card by name.

    Args:
        name: The data set's name.

    Returns:
        The card.

    Raises:
        RequestError: No data set has this name.
    """
    if name not in cards():
        raise RequestError(f"data set {name!r}: {did_you_mean(name, cards())}")
    return cards()[name]


def fetch(
    name: str,
    folder: str | os.PathLike[str] | None = None,
    *,
    progress: Callable[[str], Callable[[int, int], None]] | None = None,
) -> list[Path]:
    """Download the files of a data set once, check them, and keep them in a cache.

    Args:
        name: The data set's name.
        folder: Folder of the cache; None takes `$STGATE_CACHE` or, without it, the user's cache folder.
        progress: Function of a file's name; it returns a function of (bytes done, bytes in total) that is called
            during the download.

    Returns:
        The files' paths.

    Raises:
        RequestError: No data set has this name, or it cannot be downloaded; the message says how to get it.
        FetchError: The network or the server failed, or a checksum does not match.
        StoreError: The folder cannot be written.
    """
    import pooch
    import requests

    card = find_card(name)
    if not card.get("files"):
        raise RequestError(f"{name}: nothing to download; {card.get('by_hand') or 'make it with ' + card['reader']}")
    place = Path(folder or os.environ.get("STGATE_CACHE") or pooch.os_cache("stgate")) / name
    pooch.get_logger().setLevel("WARNING")
    paths = []
    for file in card["files"]:
        bar = _Bar(progress(file["name"])) if progress else False
        download = pooch.HTTPDownloader(progressbar=bar, timeout=30)
        known = f"sha256:{file['sha256']}" if file["sha256"] else None
        try:
            path = pooch.retrieve(file["url"], known, fname=file["name"], path=place, downloader=download)
        except requests.exceptions.HTTPError as error:
            code = error.response.status_code if error.response is not None else "an error"
            raise FetchError(f"{file['url']}: the server answers {code}; source: {card['source']}") from error
        except requests.exceptions.RequestException as error:
            raise FetchError(f"{file['url']}: cannot be reached; check your connection") from error
        except ValueError as error:  # pooch raises it when a checksum does not match
            raise FetchError(
                f"{file['name']}: its checksum is not the card's: the file differs or was damaged on the way; try again"
            ) from error
        except OSError as error:
            raise StoreError(f"{place}: {error.strerror or error}; give another folder") from error
        paths.append(Path(path))
    return paths


class _Bar:
    """A progress bar as pooch wants it, which calls a function of (bytes done, bytes in total)."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self.report, self.total, self.done = report, 0, 0

    def update(self, count: int) -> None:
        """Add a number of bytes."""
        self.done += count
        self.report(self.done, max(self.total, self.done))

    def reset(self) -> None:
        """Set the bar back; pooch does so when all is done."""
        self.done = 0

    def close(self) -> None:
        """Do nothing: the bar holds no resources."""
