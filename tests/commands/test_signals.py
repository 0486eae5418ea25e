"""SIGTERM and SIGINT end a command with one line and 143 or 130, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from helpers import environment, make_panel

import stgate
from stgate import __main__ as command

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="other signals there")
WORD = {signal.SIGTERM: "terminated", signal.SIGINT: "interrupted"}


@pytest.fixture
def work(monkeypatch):
    """Let `stgate data` do something else, in this process, where SIGINT is not ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    names = dict(command.COMMANDS)
    monkeypatch.setattr(command, "COMMANDS", names)

    def make(run):
        module = type(sys)("stgate_work")
        module.run = lambda *given: run()
        monkeypatch.setitem(sys.modules, "stgate_work", module)
        names["data"] = "stgate_work", "work"

    yield make
    signal.signal(signal.SIGINT, before)


def told(number):
    """Send a signal to this process and wait for it."""
    os.kill(os.getpid(), number)
    time.sleep(5)


def told_at_once(number):
    """Send a signal to this process, which takes it within this call."""
    os.kill(os.getpid(), number)
    time.sleep(0.001)


def swallowing(number):
    try:
        told(number)
    except KeyboardInterrupt:
        return


def exiting(number):
    try:
        told(number)
    except KeyboardInterrupt:
        sys.exit(1)  # as Lightning does


def failing(number):
    try:
        told(number)
    except KeyboardInterrupt as error:
        raise RuntimeError("a worker died") from error


@pytest.mark.parametrize("number", WORD)
@pytest.mark.parametrize("how", [told, swallowing, exiting, failing])
def test_a_signal_is_one_line_whatever_a_library_makes_of_it(stgate_command, work, how, number):
    handlers = [signal.getsignal(n) for n in WORD]
    work(lambda: how(number))
    assert stgate_command("data") == (128 + number, "", f"stgate: {WORD[number]}\n")
    assert [signal.getsignal(n) for n in WORD] == handlers
    work(lambda: None)
    assert stgate_command("data") == (0, "", "")  # the next command knows nothing of it


class Lock:
    """A lock written in Python, as xarray's is: the signal comes while it is taken, held, or given back."""

    def __init__(self, number, moment):
        self.number, self.moment, self.free = number, moment, threading.Lock()

    def told(self, moment):
        if moment == self.moment:
            os.kill(os.getpid(), self.number)
            time.sleep(0.05)

    def __enter__(self):
        self.free.acquire()
        self.told("taken")

    def __exit__(self, *error):
        self.told("given back")
        self.free.release()


@pytest.mark.parametrize("number", WORD)
@pytest.mark.parametrize("moment", ["taken", "held", "given back"])
def test_a_lock_is_free_after_a_signal(stgate_command, work, moment, number):
    lock = Lock(number, moment)

    def run():
        with lock:
            lock.told("held")
        time.sleep(5)

    work(run)
    started = time.monotonic()
    assert stgate_command("data") == (128 + number, "", f"stgate: {WORD[number]}\n")
    assert time.monotonic() - started < 4 and lock.free.acquire(blocking=False)


def test_what_takes_long_to_leave_is_left_at_last(stgate_command, work, monkeypatch):
    monkeypatch.setattr(command, "TRIES", 3)

    class Slow:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            told(signal.SIGTERM)

    def run():
        with Slow():
            pass

    work(run)
    started = time.monotonic()
    assert stgate_command("data") == (143, "", "stgate: terminated\n")
    assert time.monotonic() - started < 4


class Half:
    """An object whose end complains, since a signal came while it was made."""

    def __init__(self, number):
        told(number)
        self.whole = True

    def __del__(self):
        assert self.whole


@pytest.mark.parametrize("number", WORD)
def test_objects_that_a_signal_left_half_made_are_silent(stgate_command, work, number):
    hook = sys.unraisablehook
    work(lambda: Half(number))
    assert stgate_command("data") == (128 + number, "", f"stgate: {WORD[number]}\n")
    assert sys.unraisablehook is hook


@pytest.mark.parametrize("number", WORD)
@pytest.mark.parametrize("kind", ["finalizer", "callback"])
def test_a_signal_that_a_library_drops_comes_again(stgate_command, work, kind, number):
    class Dropping:
        def __del__(self):
            if kind == "finalizer":
                told_at_once(number)

    def run():
        held = Dropping()
        reference = weakref.ref(held, lambda _: told_at_once(number) if kind == "callback" else None)
        del held
        time.sleep(5)
        return reference

    work(run)
    started = time.monotonic()
    assert stgate_command("data") == (128 + number, "", f"stgate: {WORD[number]}\n")
    assert time.monotonic() - started < 4


@pytest.mark.parametrize("number", WORD)
def test_a_signal_that_is_sent_again_after_the_work_is_one_line(stgate_command, work, monkeypatch, number):
    class Last:
        def __enter__(self):
            return self

        def __exit__(self, *error):
            told_at_once(number)

    def run():
        with Last():
            pass

    def slow(message, code, usual=command._fail):
        time.sleep(0.1)  # the signal comes again while the line is printed
        return usual(message, code)

    monkeypatch.setattr(command, "_fail", slow)
    work(run)
    assert stgate_command("data") == (128 + number, "", f"stgate: {WORD[number]}\n")


@pytest.mark.parametrize("number", WORD)
def test_an_error_that_says_how_to_go_on_is_kept(stgate_command, work, number):
    def run():
        try:
            told(number)
        except KeyboardInterrupt as error:
            raise stgate.errors.Interrupted("interrupted; continue with: this") from error

    work(run)
    assert stgate_command("data") == (128 + number, "", "stgate: interrupted; continue with: this\n")


def test_in_another_thread_signals_are_left_alone(stgate_command, work):
    work(lambda: None)
    before, codes = signal.getsignal(signal.SIGTERM), []
    thread = threading.Thread(target=lambda: codes.append(command.main(["data"])))
    thread.start()
    thread.join()
    assert codes == [0] and signal.getsignal(signal.SIGTERM) == before


PLAIN = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
from stgate.__main__ import entry
sys.exit(entry())
"""
HANGS = """
import sys, time
from stgate import __main__ as command
module = type(sys)("stgate_work")
def run(*given):
    ready = False
    while True:
        try:
            if not ready:
                ready = True
                print("ready", flush=True)
            time.sleep(60)
        except KeyboardInterrupt:
            print("caught", flush=True)
module.run = run
sys.modules["stgate_work"] = module
command.COMMANDS["data"] = "stgate_work", "work"
command.PATIENCE = float(sys.argv.pop(1))
sys.exit(command.entry())
"""


@pytest.mark.parametrize(("patience", "signals"), [(60, 2), (0.3, 1)])
def test_a_command_that_does_not_stop_is_ended_by_a_second_signal_or_after_a_while(patience, signals):
    with subprocess.Popen(
        [sys.executable, "-c", HANGS, str(patience), "data"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as hanging:
        assert hanging.stdout.readline() == "ready\n"
        for _ in range(signals):
            hanging.send_signal(signal.SIGTERM)
            if hanging.stdout.readline() != "caught\n":
                break
        assert hanging.wait(20) == 143
        assert hanging.stderr.read() == "stgate: stopped\n"


LATE = """
import atexit, os, signal, sys
from stgate import __main__ as command
module = type(sys)("stgate_work")
module.run = lambda *given: print("done", end="")
sys.modules["stgate_work"] = module
command.COMMANDS["data"] = "stgate_work", "work"
if sys.argv.pop(1) == "late":
    module.run = lambda *given: bool(atexit.register(os.kill, os.getpid(), signal.SIGTERM)) - 1
sys.exit(command.entry())
"""


@pytest.mark.parametrize(("when", "ended"), [("late", (143, "", "stgate: stopped\n")), ("never", (0, "done", ""))])
def test_a_signal_after_the_work_is_answered(when, ended):
    found = subprocess.run(
        [sys.executable, "-c", LATE, when, "data"], env=environment(), capture_output=True, text=True, check=False
    )
    assert (found.returncode, found.stdout, found.stderr) == ended


@pytest.mark.parametrize("number", WORD)
def test_a_conversion_that_is_stopped_leaves_nothing(tmp_path, number):
    panel = make_panel(steps=3000, nodes=tuple("abcdefghij"))
    panel.to_dataframe().reset_index().to_csv(tmp_path / "table.csv", index=False)
    words = ("data", "convert", "table.csv", "--time", "time", "--node", "node", "--variables", "y", "--out", "p.nc")
    for wait in (0.8, 1.6):
        with subprocess.Popen(
            [sys.executable, "-c", PLAIN, *words],
            cwd=tmp_path,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        ) as running:
            time.sleep(wait)
            running.send_signal(number)
            _, err = running.communicate()
        if running.returncode != 0:
            assert running.returncode == 128 + number, err
            assert err.splitlines()[-1] == f"stgate: {WORD[number]}"
            assert [p.name for p in tmp_path.iterdir()] == ["table.csv"]
        (tmp_path / "p.nc").unlink(missing_ok=True)


def test_a_fit_that_is_terminated_says_how_to_go_on(stgate_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    stgate.write(make_panel(), "panel.nc")

    def terminate():
        deadline = time.monotonic() + 60
        while not (tmp_path / "run" / "last.ckpt").exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=terminate)
    thread.start()
    data = ("--data.panel", "panel.nc", "--data.targets", "[y]", "--data.window", "12", "--data.horizon", "6")
    model = ("--model", "GatedRNN", "--model.hidden", "4", "--trainer.max_epochs", "1000")
    code, _, err = stgate_command("fit", *model, *data, "--out", "run")
    thread.join()
    assert code == 143, err
    assert "continue with: stgate fit --out run --resume" in err.splitlines()[-1]
    assert not list((tmp_path / "run").glob(".*"))
