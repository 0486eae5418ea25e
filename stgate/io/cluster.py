"""Blocks of work in this process, one after another, or on the workers of a dask cluster."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.util
import logging
import os
import re
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from stgate.errors import ClusterError, RequestError, StgateError, StgateWarning, one_line

Made = TypeVar("Made")
PATIENCE = 10
"""Seconds to wait for a scheduler."""
LOCAL = re.compile(r"local:(\d+)")
ADDRESS = re.compile(r"((tcp|tls|ucx|ws|wss)://)?(\[[0-9a-fA-F:.]+\]|[\w.-]+):\d{1,5}")
_ONE = threading.Lock()
"""Held while a block is worked on: a worker with several threads still does one at a time."""


def check_dask(dask: str) -> None:
    """Refuse what names no cluster, and a cluster without the packages for it.

    Args:
        dask: `local:N` for N processes of this machine, or the address of a scheduler.

    Raises:
        RequestError: It is neither of the two, or dask is not installed.
    """
    local = LOCAL.fullmatch(dask)
    if (local and not 0 < int(local[1]) <= 4096) or not (local or ADDRESS.fullmatch(dask)):
        raise RequestError(
            f"--dask {dask}: give local:N, for N processes of this machine, or the address of a scheduler, such as "
            "tcp://10.0.0.5:8786"
        )
    if importlib.util.find_spec("distributed") is None:
        raise RequestError(f"--dask {dask}: dask is not installed; install it with pip install 'stgate[dask]'")


def check_store_options(out: str | os.PathLike[str] | None, *, overwrite: bool, resume: bool, dask: str | None) -> None:
    """Refuse options of a store where there is none, and what names no cluster.

    Args:
        out: The store; None for a result in memory.
        overwrite: Replace an existing store.
        resume: Continue a stopped run.
        dask: The cluster; None for this process.

    Raises:
        RequestError: An option needs `out`, or `dask` names no cluster.
    """
    for name, given in {"overwrite": overwrite, "resume": resume, "dask": dask}.items():
        if given and out is None:
            raise RequestError(f"{name}: only used with out, the .zarr store to write to; give out")
    if dask is not None:
        check_dask(dask)


def run_blocks(work: Callable[[int], object], numbers: Sequence[int], dask: str | None = None) -> Iterator[int]:
    """Work on blocks, and yield the number of each that is done.

    Args:
        work: A function of the number of a block, which writes what it makes.
        numbers: Numbers of the blocks.
        dask: `local:N` or the address of a scheduler; None works here, in order.

    Raises:
        StgateError: As for `map_blocks`.
    """
    return (number for number, _ in map_blocks(work, numbers, dask))


def map_blocks(
    work: Callable[[int], Made], numbers: Sequence[int], dask: str | None = None
) -> Iterator[tuple[int, Made]]:
    """Work on blocks, and yield the number of each that is done, with what was made.

    Args:
        work: A function of the number of a block. On a cluster it is sent to the workers, so it holds paths, not data;
            a block whose worker dies is begun again by another.
        numbers: Numbers of the blocks.
        dask: `local:N` or the address of a scheduler; None works here, in order.

    Raises:
        RequestError: There is no such cluster.
        ClusterError: The cluster was lost, or a block has taken several workers with it.
        StgateError: What a worker raises.
    """
    if dask is None:
        for number in numbers:
            yield number, work(number)
        return
    if not numbers:
        return
    with connected(dask) as client:
        from distributed import CancelledError, KilledWorker, as_completed

        futures = client.map(_Task(work), numbers, pure=False)
        which = {future.key: number for future, number in zip(futures, numbers, strict=True)}
        shown: set[str] = set()
        try:
            for future in as_completed(futures, loop=client.loop):
                number = which[future.key]
                made, told = future.result()
                for text, category in told:
                    if (kind := re.sub(r"\d+", "#", text)) not in shown:  # blocks differ in their counts only
                        shown.add(kind)
                        warnings.warn(text, category, stacklevel=3)
                future.release()
                yield number, made
        except KilledWorker as error:
            raise ClusterError(
                f"--dask {dask}: a block has ended several workers; give them more memory, or less each (max_memory)"
            ) from error
        except (CancelledError, OSError) as error:
            raise ClusterError(f"--dask {dask}: the cluster was lost ({one_line(str(error))[:120]})") from error
        finally:
            with contextlib.suppress(Exception):
                client.cancel(futures)


@dataclasses.dataclass(frozen=True)
class _Task(Generic[Made]):
    """Work on a block, which also returns what it warns of: a worker has no terminal."""

    work: Callable[[int], Made]

    def __call__(self, number: int) -> tuple[Made, list[tuple[str, type[Warning]]]]:
        with _ONE, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", StgateWarning)
            made = self.work(number)
        return made, [(str(one.message), one.category) for one in caught]


@contextlib.contextmanager
def connected(dask: str) -> Iterator[Any]:
    """Connect to a cluster; a local one is started, and ended with the block.

    Args:
        dask: `local:N` or the address of a scheduler.

    Yields:
        A client of `dask.distributed`.

    Raises:
        RequestError: There is no such cluster.
    """
    check_dask(dask)
    from distributed import Client, LocalCluster

    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with contextlib.ExitStack() as stack:
        target: Any = dask
        if local := LOCAL.fullmatch(dask):
            target = stack.enter_context(
                LocalCluster(
                    n_workers=int(local[1]),
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    memory_limit=0,  # dask would pause a worker whose panel is large
                    silence_logs=logging.CRITICAL,
                )
            )
        try:
            client = stack.enter_context(Client(target, timeout=PATIENCE, set_as_default=False))
        except StgateError:
            raise
        except Exception as error:  # whatever the network says
            raise RequestError(
                f"--dask {dask}: no scheduler answers there; start one with dask scheduler, or give local:N"
            ) from error
        yield client
