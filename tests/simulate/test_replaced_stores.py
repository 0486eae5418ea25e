"""A run that replaces a store, stopped at any step: the store is the old or the new one, and nothing is left."""

import os

import pytest
import xarray as xr

from stgate.errors import RequestError, StoreError
from stgate.simulate import lorenz96
from stgate.simulate.engine import Engine

RUN = {"nodes": 8, "duration": 20.0, "spinup": 1.0, "verify": False}


@pytest.fixture
def out(tmp_path):
    """A store with the seed 0."""
    lorenz96(out=tmp_path / "l96.zarr", **RUN)
    return tmp_path / "l96.zarr"


def seed(out):
    return xr.open_zarr(out).attrs["seed"]


class Killed(BaseException):
    """A kill: what cleans up after an interrupt does so here too, but for `at_rename`, where nothing of it is run."""


def at_start(patch):
    def stop(self, *_):
        raise Killed

    patch.setattr(Engine, "spin_up", stop)


def in_the_middle(patch):
    usual, calls = Engine._check, []

    def stop(self, *args):
        calls.extend([1] * (self.clock > self.plan.discarded))
        if len(calls) == 6:
            raise Killed
        usual(self, *args)

    patch.setattr(Engine, "_check", stop)
    patch.setattr("stgate.simulate.engine.SLICE_SECONDS", 1e-9)


def at_rename(number):
    def use(patch):
        usual, calls = os.rename, []

        def rename(*names):
            calls.append(names)
            if len(calls) == number:
                raise Killed
            usual(*names)

        patch.setattr(os, "rename", rename)

    return use


def at_removal(patch):
    def stop(*_):
        raise Killed

    patch.setattr("shutil.rmtree", stop)


STOPS = {"start": at_start, "middle": in_the_middle, "first": at_rename(1), "second": at_rename(2), "end": at_removal}


@pytest.fixture(params=STOPS)
def stopped(request, out, monkeypatch):
    """The store, whose replacing by another seed was stopped."""
    with monkeypatch.context() as patch, pytest.raises(Killed):
        STOPS[request.param](patch)
        lorenz96(out=out, seed=1, overwrite=True, **RUN)
    return out


@pytest.mark.parametrize("way", ["resume", "overwrite"])
def test_the_run_that_replaces_is_continued_or_begun_again(stopped, way):
    lorenz96(out=stopped, seed=1, **{way: True}, **RUN)
    assert seed(stopped) == 1
    xr.testing.assert_equal(xr.open_zarr(stopped)[["x"]].load(), lorenz96(seed=1, **RUN)[["x"]])
    assert [path.name for path in stopped.parent.iterdir()] == ["l96.zarr"]


def test_the_store_that_is_replaced_comes_back_with_the_next_command(stopped):
    with pytest.raises((RequestError, StoreError), match=r"exists|stopped run|has seed"):
        lorenz96(out=stopped, seed=2, **RUN)
    assert seed(stopped) in (0, 1)


def test_a_resume_with_options_of_neither_run_is_refused(stopped):
    with pytest.raises(RequestError, match="has seed"):
        lorenz96(out=stopped, seed=2, resume=True, **RUN)
    assert seed(stopped) in (0, 1)


def test_a_whole_store_is_not_made_again(out, monkeypatch):
    at_start(monkeypatch)
    assert lorenz96(out=out, resume=True, **RUN).sizes["time"] == xr.open_zarr(out).sizes["time"]
