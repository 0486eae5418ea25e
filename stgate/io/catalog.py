"""Cards of public data sets (source, licence, reader, split, published figures), and downloads of their files."""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from stgate.errors import FetchError, RequestError, StoreError, did_you_mean
from stgate.io.paths import atomic, cards_folder
from stgate.io.safe.documents import read_yaml
from stgate.io.safe.download import Report, checksum, download

Card = Mapping[str, Any]
REQUIRED = ("name", "title", "source", "licence", "citation", "reader", "split")
OPTIONAL = ("files", "by_hand", "graph", "published", "notes")
PLAIN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._+-]{0,126}[A-Za-z0-9_+-])?")
"""Names of files that no system reads as a folder, a device, or another name."""
URL = re.compile(r"https?://[!-.0-~][!-~]*")
SHA256 = re.compile(r"[0-9a-f]{64}")
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
        card = read_yaml(path)
        check_card(card, path)
        found[card["name"]] = card
    return found


def check_card(card: Any, path: Path) -> None:  # noqa: ANN401 (whatever YAML holds)
    """Refuse a card that lacks an entry, or has an unknown one or one of another kind.

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
    for key, value in card.items():
        if key not in (*REQUIRED, *OPTIONAL):
            hint = did_you_mean(key, (*REQUIRED, *OPTIONAL))
            raise StoreError(f"{path}: `{key}` is not an entry of a card; {hint}")
        if key == "split" and isinstance(value, dict | list):
            value = [*value, *value.values()] if isinstance(value, dict) else value
            if not all(isinstance(part, str | int | float | datetime.date) for part in value):
                raise StoreError(f"{path}: `split`: must be text, shares, or dates of its parts")
        elif key not in ("files", "published") and not (isinstance(value, str) and value.strip()):
            raise StoreError(f"{path}: `{key}`: must be text")
    if card["name"] != path.parent.name:
        raise StoreError(f"{path}: `name` is {card['name']!r}, its folder is {path.parent.name!r}")
    files = _entries(card, "files", {"name", "url", "sha256"}, path)
    for file in files:
        if not (isinstance(file["name"], str) and PLAIN.fullmatch(file["name"])):
            raise StoreError(
                f"{path}: `files`: {file['name']!r} is not a plain name: letters, digits, spaces and . _ + - of at "
                "most 128 characters, the first a letter or digit"
            )
        if not (isinstance(file["url"], str) and URL.fullmatch(file["url"])):
            raise StoreError(f"{path}: `files`: {file['url']!r} is not a url; give one that begins with https://")
        if file["sha256"] is not None and not (isinstance(file["sha256"], str) and SHA256.fullmatch(file["sha256"])):
            raise StoreError(
                f"{path}: `files`: {file['sha256']!r} is not a sha256, 64 digits of 0-9 and a-f; write null where none "
                "is known"
            )
    if len({file["name"].lower() for file in files}) < len(files):
        raise StoreError(f"{path}: `files`: two have the same name; give each its own")
    for figure in _entries(card, "published", {"figure", "standing"}, path):
        standing = str(figure["standing"]).split()
        if not isinstance(figure["figure"], str) or not standing or standing[0] not in STANDING:
            raise StoreError(f"{path}: `published`: each must have a figure and its standing, {', '.join(STANDING)}")


def _entries(card: Card, key: str, names: set[str], path: Path) -> list[dict[str, Any]]:
    """Return the mappings under an entry of a card, each with the same names.

    Raises:
        StoreError: The entry is no list, or holds other things.
    """
    given = card.get(key, [])
    if not isinstance(given, list) or not all(isinstance(item, dict) and set(item) == names for item in given):
        raise StoreError(f"{path}: `{key}`: must be a list, each item with exactly {', '.join(sorted(names))}")
    return given


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
    progress: Callable[[str], Report] | None = None,
) -> list[Path]:
    """Download the files of a data set once, check them, and keep them in a cache.

    A file whose checksum the card gives is downloaded again if it was altered in the cache. Otherwise the checksum of
    the first download is kept beside the file, and an altered file is refused.

    Args:
        name: The data set's name.
        folder: Folder of the cache; None takes `$STGATE_CACHE` or, without it, the user's cache folder.
        progress: Function of a file's name; it returns a function of (bytes done, bytes in total) that is called
            during the download.

    Returns:
        The files' paths.

    Raises:
        RequestError: No data set has this name, or it cannot be downloaded; the message says how to get it.
        FetchError: The network or the server failed, a file is not whole, or a checksum does not match.
        StoreError: The folder cannot be written.
    """
    import pooch

    card = find_card(name)
    if not card.get("files"):
        raise RequestError(f"{name}: nothing to download; {card.get('by_hand') or 'make it with ' + card['reader']}")
    place = Path(folder or os.environ.get("STGATE_CACHE") or pooch.os_cache("stgate")) / name
    try:
        place.mkdir(parents=True, exist_ok=True)
        return [_fetched(file, place, progress) for file in card["files"]]
    except FetchError as error:
        raise FetchError(f"{error}; source: {card['source']}") from error
    except OSError as error:
        raise StoreError(f"{place}: {error.strerror or error}; give another folder") from error


def _fetched(file: Mapping[str, Any], place: Path, progress: Callable[[str], Report] | None) -> Path:
    """Return the path of a file that is in the cache as it was downloaded, and download it where it is not.

    Raises:
        FetchError: The download failed, or the file in the cache is not the one that was downloaded.
    """
    path, note = place / str(file["name"]), place / f".{file['name']}.sha256"
    known = file["sha256"]
    if path.is_file():
        found = checksum(path)
        first = note.read_text(encoding="ascii", errors="replace").strip() if note.is_file() else None
        if known is None and first not in (None, found):
            raise FetchError(
                f"{path}: is not what was downloaded first (sha256 {first}); remove it to download it again"
            )
        if known in (None, found):
            if known is None and first is None:  # of a version that kept no note
                _keep(note, found)
            return path
    found = download(file["url"], path, known, progress(file["name"]) if progress else None)
    if known is None:
        _keep(note, found)
    return path


def _keep(note: Path, found: str) -> None:
    with atomic(note) as temporary:
        temporary.write_text(f"{found}\n", encoding="ascii")
