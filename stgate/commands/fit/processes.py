"""Several processes of one fit: those that the command starts, and what each of them prints and writes."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

import lightning as L
import torch
from lightning.pytorch.strategies import DDPStrategy

from stgate.errors import RequestError
from stgate.models.training import processes

TIMEOUT = 300.0
"""Seconds that processes wait for each other in a step, besides ten times as long as this one took to prepare."""
GRACE = 10.0
"""Seconds in which this process has to notice by itself that another one has ended."""
STOPPING = 20.0
"""Seconds in which a process that is told to stop has to end."""
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "Timed out waiting", "timed out")
"""What torch says where another process is gone."""
BEGUN = time.monotonic()


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Print nothing: another process of the fit does."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stderr(nowhere),
        contextlib.redirect_stdout(nowhere),
    ):
        yield


def check_alone(what: str) -> None:
    """Refuse to be one of several processes that would each do the same.

    Args:
        what: The command, or the option that says how many there are.

    Raises:
        RequestError: torchrun has started several.
    """
    count = os.environ.get("WORLD_SIZE", "1")
    if torch.distributed.is_torchelastic_launched() and count != "1":
        raise RequestError(f"{what}: is one of {count} processes that torchrun has started, and takes one")


def check_processes(trainer: L.Trainer, command: str, model: L.LightningModule) -> None:
    """Refuse processes that cannot share a fit, and give those that can a time to wait for each other.

    Args:
        trainer: The trainer.
        command: Name of the command.
        model: The forecaster.

    Raises:
        RequestError: There are several for another command than `fit`, or a strategy that does not share batches.
    """
    strategy, count = trainer.strategy, trainer.world_size
    if getattr(strategy, "_start_method", "popen") != "popen":
        raise RequestError("--trainer.strategy: starts processes from within Python; give ddp")
    if count == 1:
        check_alone(command if command != "fit" else "--trainer.devices 1")
        return
    if command != "fit":
        raise RequestError(f"--trainer.devices: {count} processes, but {command} takes one; give 1, of 1 node")
    if not isinstance(strategy, DDPStrategy):
        raise RequestError(f"--trainer.strategy: {count} processes share a fit by ddp; give that, or leave it out")
    processes.check_processes(model, count)
    most, environment = max(os.cpu_count() or 1, 2), strategy.cluster_environment
    assert environment is not None
    if strategy.root_device.type == "cpu" and trainer.num_devices > most:
        raise RequestError(f"--trainer.devices {trainer.num_devices}: the machine has {most} cores; give at most that")
    if trainer.num_nodes > 1 and not environment.creates_processes_externally:
        raise RequestError(f"--trainer.num_nodes {trainer.num_nodes}: start the command on each by torchrun or srun")
    try:
        environment.validate_settings(num_devices=trainer.num_devices, num_nodes=trainer.num_nodes)
    except ValueError as error:
        raise RequestError(f"--trainer.devices: {' '.join(str(error).split())}") from error
    strategy._timeout = timedelta(seconds=TIMEOUT + 10 * (time.monotonic() - BEGUN))


class Others:
    """The other processes of a fit on this machine, unless a launcher such as torchrun or srun starts them.

    Lightning would start what `sys.argv` says, which is that of whatever program has called the command.

    Args:
        trainer: The trainer.
        words: The command and its arguments, as typed.
    """

    def __init__(self, trainer: L.Trainer, words: Sequence[str]) -> None:
        self.trainer, self.words, self.count = trainer, words, trainer.world_size
        self.started: list[subprocess.Popen[bytes]] = []
        self.shared, self.before = threading.Event(), dict[str, str | None]()

    def __enter__(self) -> Others:
        environment: Any = getattr(self.trainer.strategy, "cluster_environment", None)
        if self.count == 1 or environment is None or environment.creates_processes_externally:
            return self
        own = {"MASTER_ADDR": environment.main_address, "MASTER_PORT": str(environment.main_port)}
        own |= {"NODE_RANK": str(environment.node_rank()), "WORLD_SIZE": str(self.count)}
        self.before = {name: os.environ.get(name) for name in (*own, "LOCAL_RANK")}
        command = [sys.executable, "-m", "stgate", *self.words]
        for number in range(1, self.trainer.num_devices):
            given = os.environ | own | {"LOCAL_RANK": str(number)}
            self.started.append(subprocess.Popen(command, env=given, stdin=subprocess.DEVNULL))
        os.environ.update(own, LOCAL_RANK="0")
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def lost(self, error: Exception) -> str | None:
        """Return what to say of an error behind which is the end of another process; None of any other.

        Args:
            error: The error.
        """
        if self.count == 1 or not (isinstance(error, RuntimeError) and any(text in str(error) for text in LOST)):
            return None
        until = time.monotonic() + GRACE / 2
        while self.started and self._ended() is None and time.monotonic() < until:
            time.sleep(0.05)
        return self._ended() or f"another of the {self.count} processes has ended, or answers no more"

    def part(self) -> None:
        """Note that this process needs the others no longer, nor they it."""
        if self.count > 1:
            self.trainer.strategy.barrier()
            self.shared.set()
            torch.distributed.destroy_process_group()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shared.set()
        for one in self.started:
            if kind is not None:
                one.terminate()
            try:
                one.wait(STOPPING)
            except subprocess.TimeoutExpired:
                one.kill()
                one.wait()
        for name, value in self.before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def _ended(self) -> str | None:
        for number, one in enumerate(self.started, 1):
            if code := one.poll():
                how = f"by signal {-code}" if code < 0 else f"with status {code}"
                return f"process {number + 1} of {self.count} has ended {how}"
        return None

    def _watch(self) -> None:
        """End this process where it waits for one that has ended: no signal is answered in there."""
        while not self.shared.wait(0.5):
            if (ended := self._ended()) is not None and not self.shared.wait(GRACE):
                for one in self.started:
                    one.kill()
                os.write(2, f"stgate: {ended}; run the command again (--resume goes on)\n".encode())
                os._exit(1)
