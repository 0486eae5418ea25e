"""`stgate data list | describe | fetch`. No torch."""

from __future__ import annotations

import hashlib
import sys
import textwrap
from collections.abc import Sequence

from stgate.commands.parser import Parser, progress
from stgate.io.catalog import Card, cards, fetch, find_card


def list_cards(arguments: Sequence[str]) -> None:
    """Print all data sets, one a line."""
    parser = Parser("data list", "The data sets that have a card.", "stgate data list")
    parser.parse(arguments)
    for name, card in cards().items():
        how = "fetch" if card.get("files") else "by hand" if card.get("by_hand") else "simulate"
        print(f"{name:<22}{how:<10}{card['title']}")


def describe(arguments: Sequence[str]) -> None:
    """Print a card."""
    parser = Parser(
        "data describe", "Print a data set's card: source, licence, reader and split.", "stgate data describe metr_la"
    )
    parser.add_argument("name", metavar="NAME", help="name in `stgate data list`")
    print(card_text(find_card(parser.parse(arguments).name)))


def fetch_files(arguments: Sequence[str]) -> None:
    """Download the files of a data set, or find them in the cache, and print their paths."""
    parser = Parser(
        "data fetch", "Download a data set's files into a cache and check them.", "stgate data fetch pems_bay"
    )
    parser.add_argument("name", metavar="NAME", help="name in `stgate data list`")
    parser.add_argument(
        "--folder", metavar="DIR", help="folder of the cache (default $STGATE_CACHE or the user's cache)"
    )
    given = parser.parse(arguments)
    card = find_card(given.name)
    paths = fetch(given.name, given.folder, progress=lambda name: progress(f"fetching {name}", "bytes"))
    for path, file in zip(paths, card["files"], strict=True):
        print(path)
        if not file["sha256"]:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            print(f"  {path.name}: the card has no checksum; sha256 {digest}", file=sys.stderr)
    print(f"then: {card['reader']}", file=sys.stderr)


def card_text(card: Card) -> str:
    """Format a card as text."""
    lines = [f"{card['name']}: {card['title']}", ""]
    for key in ("source", "licence", "citation", "by_hand", "reader", "graph", "split", "notes"):
        value = card.get(key)
        if value is None:
            continue
        if isinstance(value, dict):
            value = ", ".join(f"{k} {v}" for k, v in value.items())
        wrapped = textwrap.wrap(str(value), 96, break_long_words=False, break_on_hyphens=False)
        lines.append(f"{key.replace('_', ' '):<10}{wrapped[0]}")
        lines += [f"{'':<10}{line}" for line in wrapped[1:]]
    for file in card.get("files", ()):
        lines.append(f"{'file':<10}{file['name']}  {file['url']}  sha256 {file['sha256'] or 'unknown'}")
    for figure in card.get("published", ()):
        wrapped = textwrap.wrap(f"{figure['figure']} ({figure['standing']})", 96)
        lines.append(f"{'figure':<10}{wrapped[0]}")
        lines += [f"{'':<10}{line}" for line in wrapped[1:]]
    return "\n".join(lines)
