"""`evaluate` on a dask cluster: the bits of one process, and one line where it cannot be."""

import pytest
import xarray as xr
from helpers import make_forecast, one_line

import stgate
from stgate.errors import RequestError
from stgate.evaluation import _evaluate, plan

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.fixture(scope="module")
def hindcast(tmp_path_factory):
    path = tmp_path_factory.mktemp("hindcast") / "h.zarr"
    stgate.write(make_forecast(inits=90, nodes="abcd"), path)
    return path


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(plan, "CASES", 60)
    monkeypatch.setattr(_evaluate, "SHARES", 5)


@pytest.mark.parametrize(
    "options",
    [{}, {"by": "lead_time"}, {"by": ["node", "lead_time"]}, {"by": "init_time"}, {"bootstrap": 20}],
    ids=str,
)
def test_scores_on_a_cluster_have_the_bits_of_one_process(hindcast, address, options):
    seen = []
    shared = stgate.evaluate(hindcast, **options, dask=address, progress=lambda done, total: seen.append((done, total)))
    alone = stgate.evaluate(hindcast, **options)
    xr.testing.assert_identical(shared, alone)
    assert seen[-1][0] == seen[-1][1] > 10


def test_the_command_takes_a_cluster(hindcast, address, stgate_command):
    assert stgate_command("evaluate", hindcast, "--dask", address)[:2] == stgate_command("evaluate", hindcast)[:2]


def test_what_workers_cannot_open_is_refused(hindcast, address, stgate_command, tmp_path):
    with pytest.raises(RequestError, match="give the path of a"):
        stgate.evaluate(stgate.open_forecast(hindcast), dask=address)
    one_line(stgate_command("evaluate", "h.nc", "--dask", address), "--dask", "h.nc")
    one_line(stgate_command("evaluate", hindcast, "--dask", "nowhere"), "--dask nowhere")
