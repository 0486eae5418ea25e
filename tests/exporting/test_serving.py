"""The code of docs/serving.md runs as it stands: ten lines of onnxruntime, and a service that answers over loopback."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from exporting.graphs import CHECKPOINTS, LEVELS, inputs_of, served

import stgate

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    """The graph of persistence, the smallest of all."""
    path, panel = tmp_path_factory.mktemp("served") / "pm25.onnx", stgate.open_panel(CHECKPOINTS / "format1/panel.nc")
    return stgate.export(CHECKPOINTS / "format1/persistence.ckpt", path, levels=LEVELS, panel=panel), panel


def block(*words: str) -> str:
    return next(one for one in BLOCKS if all(word in one for word in words))


def test_the_lines_of_onnxruntime_run(graph):
    path, _ = graph
    code = block("InferenceSession", "pm25.onnx") + "\nimport sys\nassert 'torch' not in sys.modules\n"
    code += "print(quantiles.shape, mean.shape, float(quantiles[0, 0, 0, 0, 2]))"
    made = subprocess.run([sys.executable, "-c", code], cwd=path.parent, capture_output=True, text=True, timeout=120)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("(1, 4, 5, 1, 5) (1, 4, 5, 1) 35.0") and made.stderr == ""


def test_the_service_answers_over_loopback(graph, tmp_path):
    path, panel = graph
    code = block("FastAPI", "@app.post")
    (tmp_path / "service.py").write_text(code)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    given = inputs_of(stgate.load(CHECKPOINTS / "format1/persistence.ckpt").fitted_spec, panel, [60])
    past = [[[None if np.isnan(x) else float(x) for x in node] for node in step] for step in given["past"][0]]
    body = json.dumps({"time": float(given["time"][0]), "past": past}).encode()
    command = [sys.executable, "-m", "uvicorn", "service:app", "--port", str(port), "--log-level", "warning"]
    environment = {**os.environ, "FORECASTER": str(path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            answer = _asked(f"http://127.0.0.1:{port}/forecast", body, process)
        finally:
            process.terminate()
    wanted = served(path, given, tmp_path)["quantiles"][0, :, :, 0]
    found = np.array(answer["forecast"]["y"], "float32")
    np.testing.assert_allclose(found, wanted)
    assert answer["nodes"] == list("abcde") and answer["quantile"] == [0.1, 0.25, 0.5, 0.75, 0.9]
    assert len(code.splitlines()) <= 30


def _asked(url: str, body: bytes, process: subprocess.Popen) -> dict:
    """Ask until the service is up."""
    for _ in range(400):
        assert process.poll() is None, process.stderr.read()
        try:
            request = urllib.request.Request(url, body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.load(answer)
        except urllib.error.HTTPError:
            raise
        except urllib.error.URLError:
            time.sleep(0.1)
    raise AssertionError("the service did not start")
