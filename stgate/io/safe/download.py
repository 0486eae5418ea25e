"""Downloads of single files: whole or not at all, checked by length and checksum."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stgate._memory import size_text
from stgate.errors import FetchError, StoreError
from stgate.io.safe.temporaries import temporary_for

if TYPE_CHECKING:
    import requests

Report = Callable[[int, int], None]
PIECE = 2**16


def checksum(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal text.

    Args:
        path: The file.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def download(url: str, path: Path, sha256: str | None, report: Report | None = None) -> str:
    """Download a file, check it, and only then put it in its place.

    Args:
        url: Address of the file.
        path: Where it is kept; an existing file is replaced.
        sha256: Its checksum as hexadecimal text; None if none is known. Then the server has to give its length.
        report: Function of (bytes done, bytes in total) that is called during the download.

    Returns:
        The checksum of the file.

    Raises:
        FetchError: The network or the server failed, or the file is not whole or not the one that was asked for.
        StoreError: There is no room for the file.
    """
    import requests

    try:
        with requests.get(url, stream=True, timeout=30, headers={"Accept-Encoding": "identity"}) as answer:
            answer.raise_for_status()
            total = _length(answer, known=sha256 is not None)
            if total is not None and total > (free := shutil.disk_usage(path.parent).free):
                raise StoreError(
                    f"{path}: takes {size_text(total)} and {size_text(free)} are free; give another folder"
                )
            with temporary_for(path) as temporary:
                with temporary.open("wb") as file:
                    for piece in answer.iter_content(PIECE):
                        file.write(piece)
                        if report is not None:
                            report(file.tell(), max(total or 0, file.tell()))
                if total is not None and answer.raw.tell() != total:
                    raise FetchError(f"{url}: broke off after {answer.raw.tell():,} of {total:,} bytes; try again")
                found = checksum(temporary)
                if sha256 not in (None, found):
                    raise FetchError(
                        f"{path.name}: its checksum is not the card's: the file differs or was damaged on the way; "
                        "try again"
                    )
    except requests.exceptions.HTTPError as error:
        code = error.response.status_code if error.response is not None else "an error"
        raise FetchError(f"{url}: the server answers {code}") from error
    except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
        raise FetchError(f"{url}: broke off; try again") from error
    except requests.exceptions.RequestException as error:
        raise FetchError(f"{url}: cannot be reached; check your connection") from error
    return found


def _length(answer: requests.Response, *, known: bool) -> int | None:
    """Return the number of bytes that will come; None if they come in chunks, which have an end of their own.

    Args:
        answer: The answer of the server.
        known: Whether the checksum of the file is known.

    Raises:
        FetchError: Nothing would tell a whole file from one that broke off.
    """
    if "chunked" in answer.headers.get("transfer-encoding", ""):
        return None
    given = answer.headers.get("content-length", "")
    if given.isdecimal():
        return int(given)
    if not known:
        raise FetchError(
            f"{answer.url}: the server gives no length and the card no checksum, so nothing would tell a whole file "
            "from one that broke off; download it by hand"
        )
    return None
