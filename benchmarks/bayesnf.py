"""BayesNF beside the package `bayesnf`: the same numbers from the same weights.

    python -m benchmarks run bayesnf -- --python PYTHON

The package's negative binomials have logits -log(shape) - log(mean), which belong to the mean 1 / (shape² mean), not to
the mean and variance that its text and ours state: a last column sets that mean, and is held to the same bar in the
place of the log likelihood.

PYTHON is the interpreter of an environment of its own, in which the package can be installed with
jax==0.4.38 jaxlib==0.4.38 "flax<0.11" "optax<0.2.5" "pandas<2.3" bayesnf. Found are the largest differences of
features, forward pass, log likelihoods (normal, negative binomial, zero-inflated) and log prior; the bar is 1e-4.
"""

import subprocess
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import xarray as xr

from benchmarks.options import Findings, Options
from benchmarks.registry import BenchmarkError, benchmark
from benchmarks.tables import table
from stgate.data import FieldData
from stgate.distributions import NegativeBinomial, Normal, ZeroInflatedNegativeBinomial
from stgate.distributions.counts import NegativeBinomial as Counts
from stgate.distributions.counts import ZeroInflatedNegativeBinomial as ZeroInflatedCounts
from stgate.inference import Ensemble
from stgate.models import BayesNF

LIKELIHOODS = {
    "NORMAL": Normal(min_scale=0.01, link="exp"),
    "NB": NegativeBinomial(),
    "ZINB": ZeroInflatedNegativeBinomial(),
}
SEASONAL = 2 * 14
PLACE = 11 + SEASONAL
ORDER = [
    *(0, PLACE, PLACE + 1),
    *range(1, 11),
    *(PLACE + 2 + i + half for i in (0, 5) for half in (*range(5), *range(10, 15))),
    *range(11, PLACE),
    PLACE + 22,
]
"""Positions of the package's features among ours, which go by time, place and both."""
REFERENCE = """
import sys
import jax
import numpy as np
from bayesnf import inference, models

given = np.load(sys.argv[1])
network = models.BayesianNeuralField1D(
    width=int(given["width"]), depth=2, input_scales=given["units"], fourier_degrees=np.array([5, 5, 5]),
    interactions=np.array([[0, 1]]), num_seasonal_harmonics=np.array([4, 10]), seasonality_periods=given["periods"],
)
template = network.init(jax.random.PRNGKey(0), given["x"])
paths, shape = jax.tree_util.tree_flatten_with_path(template)
leaves = [given[path[-2].key + "." + path[-1].key if path[-2].key != "params" else path[-1].key] for path, _ in paths]
weights = jax.tree_util.tree_unflatten(shape, leaves)
made = {"forward": network.apply(weights, given["x"])}
density = models.make_likelihood_model(
    (*given["constants"], *leaves), given["x"], network, template, str(given["name"])
)
made["density"] = density.log_prob(given["y"])
made["prior"] = inference.tfd.Logistic(0.0, 1.0).log_prob(np.concatenate([np.ravel(leaf) for leaf in leaves])).sum()
np.savez(sys.argv[2], **made)
"""


def panel_of(counts):
    rng = np.random.default_rng(0)
    times = pd.date_range("2020-01-06", periods=300, freq="D")
    y = 20 + 5 * np.sin(np.arange(300) / 20)[:, None] + rng.standard_normal((300, 8))
    y = np.where(rng.random(y.shape) < 0.2, 0, y.round()) if counts else y
    y[rng.random(y.shape) < 0.3] = np.nan
    where = {"lat": ("node", rng.uniform(46, 48, 8)), "lon": ("node", rng.uniform(17, 22, 8))}
    return xr.Dataset({"y": (("time", "node"), y)}, {"time": times, "node": list("abcdefgh"), **where})


def model_of(name, width=32):
    data = FieldData(panel_of(name != "NORMAL"), targets="y", split=(1.0, 0.0, 0.0, 0.0), batch_size=300)
    model = BayesNF(
        width=width,
        seasons={"30": 4, "365.25": 10},
        interactions=[["time", "lat"]],
        likelihood=LIKELIHOODS[name],
        inference=Ensemble(1, prior="logistic"),
    )
    model.adopt(data)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.predictor.network.parameters():
            weight.copy_(0.8 * torch.randn(weight.shape, generator=generator))
    return model, next(iter(data.train_dataloader()))


def weights_of(model):
    """Return our weights by the package's names; its dense layers are transposed."""
    own = {name: value[0].detach().numpy() for name, value in model.predictor.network.network.named_parameters()}
    made = {"log_scale_adjustment": own["features.log_units"], "logit_activation_weight": own["activation.logit"][0]}
    made |= {f"feature_inv_sp_scale{i}": scale for i, scale in enumerate(own["features.scales"])}
    for i, layer in enumerate(("layers.0.update", "layers.1.update", "out")):
        kernel = own[f"{layer}.weight"].T
        made[f"Dense_{i}.kernel"], made[f"Dense_{i}.bias"] = kernel[ORDER] if i == 0 else kernel, own[f"{layer}.bias"]
        made["inv_sp_output_scale" if i == 2 else f"inv_sp_layer_scale{i}"] = own[f"{layer}.scale"]
    return made, own["constant"]


def compare(python, work, name):
    model, batch = model_of(name)
    weights, constant = weights_of(model)
    with torch.no_grad():
        inputs = model.predictor._inputs(batch, 0, model.predictor.entries_of(batch))
        forecast, truth = model.training_forward(batch), model.training_target(batch)
        raw = model.predictor.network(inputs)[0, :, 0]
        density = forecast.log_prob(truth).sum()
        prior = sum(
            (-w - 2 * torch.nn.functional.softplus(-w)).sum()
            for key, w in model.predictor.network.network.named_parameters()
            if key != "constant"
        )
    time = inputs.time[inputs.which].numpy()
    constants = np.zeros(3, np.float32)
    constants[{"NORMAL": slice(0, 1), "NB": slice(1, 2), "ZINB": slice(1, 3)}[name]] = constant
    np.savez(
        work / "given.npz",
        x=np.column_stack([time, inputs.sites.static[inputs.place].numpy()]).astype("float32"),
        units=np.array([float(model.predictor.ground.length), 1.0, 1.0]),
        width=32,
        periods=np.array([30.0, 365.25]),
        constants=constants,
        y=truth.flatten().numpy(),
        name=name,
        **weights,
    )
    (work / "reference.py").write_text(REFERENCE)
    subprocess.run([python, work / "reference.py", work / "given.npz", work / "made.npz"], check=True)
    theirs = np.load(work / "made.npz")
    scale = float(np.abs(theirs["forward"]).max())
    return {
        "forward pass": float(np.abs(raw.numpy() - theirs["forward"]).max()) / scale,
        "log likelihood": abs(float(density) / float(theirs["density"]) - 1),
        "log prior": abs(float(prior) / float(theirs["prior"]) - 1),
        "log likelihood with its mean": abs(
            float(_with_its_mean(forecast).log_prob(truth).sum()) / float(theirs["density"]) - 1
        ),
    }


def _with_its_mean(forecast):
    """The counts that the package's logits belong to."""
    if isinstance(forecast, ZeroInflatedCounts):
        mean = 1 / (forecast.dispersion**2 * forecast.count_mean)
        return ZeroInflatedCounts(mean, forecast.dispersion, forecast.inflation)
    if isinstance(forecast, Counts):
        return Counts(1 / (forecast.dispersion**2 * forecast.mean), forecast.dispersion)
    return forecast


@benchmark(
    "bayesnf",
    claim="BayesNF has the numbers of the package bayesnf from the same weights, to 1e-4",
    cost="1 minute; PYTHON, an interpreter with the package bayesnf",
    quick="the normal likelihood alone",
    seeds=(0,),
)
def run(options: Options, *, python: Path | None = None):
    """Compare with the package.

    Args:
        options: Options of all benchmarks.
        python: Interpreter of an environment with the package bayesnf.
    """
    if python is None:
        raise BenchmarkError("bayesnf needs -- --python PYTHON, an interpreter with the package bayesnf")
    with tempfile.TemporaryDirectory() as folder:
        names = list(LIKELIHOODS)[: 1 if options.quick else None]
        found = {name: compare(python, Path(folder), name) for name in names}
    lines = table(
        ["likelihood", *next(iter(found.values()))],
        ([name, *(f"{gap:.1e}" for gap in gaps.values())] for name, gaps in found.items()),
    )
    held = [gap for gaps in found.values() for what, gap in gaps.items() if what != "log likelihood"]
    missed = ["a difference above 1e-4"] if max(*held, found["NORMAL"]["log likelihood"]) > 1e-4 else []
    return Findings("BayesNF and the package bayesnf", lines, found, "relative differences.", missed)
