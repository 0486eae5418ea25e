"""A cluster for the tests of this room."""

import pytest


@pytest.fixture(scope="module")
def address():
    """A scheduler with a worker, in this process."""
    from distributed import LocalCluster

    options = {"n_workers": 1, "threads_per_worker": 2, "processes": False, "protocol": "tcp", "host": "127.0.0.1"}
    with LocalCluster(**options, dashboard_address="127.0.0.1:0", memory_limit=0) as running:
        yield running.scheduler_address
