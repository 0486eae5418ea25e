"""Batches in pieces: the loss, the gradients and the forecasts of a batch taken whole."""

import subprocess
import sys

import pytest
import torch
from helpers import (
    HORIZON,
    batch_of,
    built,
    environment,
    field_data,
    fit,
    make_data,
    make_panel,
    ring_data,
    ring_panel,
    small_field,
)
from torch import nn

from stgate.distributions.likelihoods import (
    LogNormal,
    NegativeBinomial,
    Normal,
    Quantiles,
    StudentT,
    ZeroInflatedNegativeBinomial,
)
from stgate.inference import Ensemble, MeanField, PointEstimate, members
from stgate.inference.pieces import cut
from stgate.models import GatedRNN, GatedTransformer, Ridge, STHSepNet
from stgate.models.forecaster import Forecaster
from stgate.nn.gated.rollout import RollOut
from stgate.nn.sepnet import learned_graphs

WHOLE = 2**40
PLAIN = {"transforms": None, "linear": False, "neighbour_means": "none"}
FORECASTERS = {
    "GatedRNN": lambda **options: GatedRNN(hidden=8, **(PLAIN | options)),
    "LSTM with attention": lambda **options: GatedRNN(hidden=8, cell="lstm", attention=2, **(PLAIN | options)),
    "around a linear part": lambda **options: GatedRNN(hidden=8, **options),
    "GatedTransformer": lambda **options: GatedTransformer(hidden=8, heads=2, **(PLAIN | options)),
    "rollout": lambda **options: GatedRNN(hidden=8, rollout=RollOut(unroll=2), **(PLAIN | options)),
    "STHSepNet": lambda **options: STHSepNet(hidden=8, width=8, heads=2, **({"dropout": 0.0} | PLAIN | options)),
    "CGLUBNF": lambda **options: small_field(**options),
}
LIKELIHOODS = {
    "normal": Normal(),
    "weighted": Normal(beta=0.5),
    "student": StudentT(),
    "quantiles": Quantiles(),
    "lognormal": LogNormal(),
    "counts": NegativeBinomial(),
    "zeros": ZeroInflatedNegativeBinomial(),
}


def data_of(name, panel=None, **options):
    return field_data(panel, **options) if name == "CGLUBNF" else make_data(panel, **options)


def counts_panel():
    panel = make_panel(steps=160)
    return panel.assign(y=(abs(panel["y"]) * 3).round() + 1)


def with_pieces(monkeypatch, most):
    monkeypatch.setattr("stgate.inference.pieces.MOST", most)


def steps_of(monkeypatch, model, data, change=None):
    """A training step of the whole batch, and one in pieces: their number, the loss, the logged loss, the gradients."""
    model, batch = built(model, data).train(), next(iter(data.train_dataloader()))
    if change is not None:
        batch = change({**batch})
    for most in (WHOLE, 1):
        with_pieces(monkeypatch, most)
        model.zero_grad()
        model.scores["train_loss"].reset()
        pieces = len(model.training_pieces(model.predictor.encode(batch)))
        torch.manual_seed(1)
        loss = model.training_step(batch, 0)
        loss.backward()
        logged = model.scores["train_loss"].compute()
        yield pieces, loss.detach(), logged, {name: weight.grad for name, weight in model.named_parameters()}


def assert_same(whole, parts):
    """Equal to the rounding of the largest gradient, and no gradient where there was none."""
    (one, *expected), (many, *found) = whole, parts
    assert one == 1 < many
    torch.testing.assert_close(found[:2], expected[:2], rtol=1e-5, atol=1e-6)
    assert {n for n, g in expected[2].items() if g is None} == {n for n, g in found[2].items() if g is None}
    scale = max(g.abs().max() for g in expected[2].values() if g is not None)
    for name, gradient in expected[2].items():
        if gradient is not None:
            gap = (found[2][name] - gradient).abs().max() / scale
            assert gap < 5e-6, (name, float(gap))


@pytest.mark.parametrize("name", FORECASTERS)
def test_pieces_have_the_loss_and_the_gradients_of_the_batch(monkeypatch, name):
    assert_same(*steps_of(monkeypatch, FORECASTERS[name](), data_of(name)))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_they_do_for_each_likelihood_where_targets_are_missing(monkeypatch, name):
    model = FORECASTERS["GatedRNN"](likelihood=LIKELIHOODS[name])
    assert_same(*steps_of(monkeypatch, model, make_data(counts_panel())))


def all_missing_from(first):
    def change(batch):
        batch["target"] = batch["target"].clone()
        batch["target"][first:] = torch.nan
        return batch

    return change


@pytest.mark.parametrize("name", ["GatedRNN", "GatedTransformer", "STHSepNet"])
@pytest.mark.parametrize("first", [1, 5, 12])
def test_they_do_where_whole_pieces_have_no_target(monkeypatch, name, first):
    assert_same(*steps_of(monkeypatch, FORECASTERS[name](), data_of(name), all_missing_from(first)))


def test_a_batch_without_any_target_has_a_loss_of_zero_and_no_gradient(monkeypatch):
    _, made = steps_of(monkeypatch, FORECASTERS["GatedRNN"](), make_data(), all_missing_from(0))
    pieces, loss, logged, gradients = made
    assert pieces > 1 and loss == 0 and torch.isnan(logged)
    assert all(gradient is None or not gradient.any() for gradient in gradients.values())


INFERENCES = {
    "one pass": Ensemble(3, prior="normal"),
    "turns": Ensemble(3, prior="normal", vectorized=False),
    "posteriors in one pass": MeanField(members=2, samples=2),
    "posteriors in turns": MeanField(members=2, samples=2, vectorized=False),
}


@pytest.mark.parametrize(
    ("name", "inference"),
    [
        *(("GatedTransformer", inference) for inference in INFERENCES),
        ("CGLUBNF", "one pass"),
        ("CGLUBNF", "posteriors in turns"),
        ("STHSepNet", "turns"),
        ("STHSepNet", "posteriors in turns"),
    ],
)
def test_they_do_for_members_and_posteriors_whose_weights_are_drawn_once_a_batch(monkeypatch, name, inference):
    assert_same(*steps_of(monkeypatch, FORECASTERS[name](inference=INFERENCES[inference]), data_of(name)))


@pytest.mark.parametrize(
    ("count", "windows", "sizes"), [(1, 4, [1]), (16, 16, [16]), (16, 5, [4] * 4), (7, 3, [2, 2, 3])]
)
def test_pieces_are_about_equally_large_and_keep_the_order(count, windows, sizes):
    batch = {"time": torch.arange(count)[:, None], "static": torch.zeros(3, 1), "ever": torch.ones(3)}
    pieces = cut(batch, windows)
    assert [len(piece["time"]) for piece in pieces] == sizes
    assert torch.cat([piece["time"] for piece in pieces]).flatten().tolist() == list(range(count))
    assert all(len(piece["static"]) == len(piece["ever"]) == 3 for piece in pieces)


def sized(monkeypatch, model, batch, most):
    with_pieces(monkeypatch, most)
    return [len(piece["time"]) for piece in model.training_pieces(batch)]


def test_the_size_of_a_piece_follows_from_the_network_and_not_from_values(monkeypatch):
    complete, gaps = make_data(make_panel(steps=160, missing=0.0)), make_data(make_panel(steps=160, missing=0.6))
    found = []
    for data in (complete, gaps):
        model = built(FORECASTERS["rollout"](), data).train()
        found.append(sized(monkeypatch, model, next(iter(data.train_dataloader())), 2**9))
    assert found[0] == found[1]
    assert 1 < len(found[0]) < 16
    wide = built(GatedRNN(hidden=32, **PLAIN), complete).train()
    narrow = built(GatedRNN(hidden=8, **PLAIN), complete).train()
    batch = next(iter(complete.train_dataloader()))
    assert len(sized(monkeypatch, wide, batch, 2**9)) > len(sized(monkeypatch, narrow, batch, 2**9))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_size_of_a_piece_of_a_rollout_does_not_follow_from_its_first_windows(monkeypatch, cell):
    data, found = make_data(make_panel(steps=160, missing=0.0)), []
    for first in (True, False):
        model = built(GatedRNN(rollout=RollOut(), cell=cell, **PLAIN), data).train()
        batch = model.predictor.noted(next(iter(data.train_dataloader())))
        batch["complete"] = [first] * 2 + [not first] * (len(batch["complete"]) - 2)
        found.append(sized(monkeypatch, model, batch, 2**9))
    assert found[0] == found[1]


@pytest.mark.parametrize("cached", [2**k for k in range(6, 14)])
def test_members_of_a_rollout_share_a_pass_whichever_windows_come_first(monkeypatch, cached):
    monkeypatch.setattr(members, "CACHED", cached)
    data, found = make_data(make_panel(steps=160, missing=0.0)), []
    for complete in (True, False):
        options = {"cell": "rhn", "hidden": 8, "rollout": RollOut(), "inference": Ensemble(2)}
        model = built(GatedRNN(**options, **PLAIN), data).train()
        batch = model.predictor.noted(next(iter(data.train_dataloader())))
        batch["complete"] = [complete] * len(batch["complete"])
        sized(monkeypatch, model, batch, 2**9)
        found.append(model.predictor.built.together)
    assert found[0] == found[1]


def test_graphs_are_learned_once_a_batch_and_again_after_a_step(monkeypatch):
    data, calls, own = make_data(make_panel(steps=160)), [], learned_graphs._largest
    monkeypatch.setattr(learned_graphs, "_largest", lambda *given: calls.append(1) or own(*given))
    model = built(FORECASTERS["STHSepNet"](), data).train()
    batch = next(iter(data.train_dataloader()))
    encoded = model.predictor.encode(batch)
    with_pieces(monkeypatch, 2**6)
    assert len(model.training_pieces(encoded)) > 2
    calls.clear()
    model.training_step(batch, 0).backward()
    assert len(calls) == 2  # a graph and a hypergraph
    model.training_step(batch, 0)
    assert len(calls) == 4
    model.eval()
    with torch.no_grad():
        model.predictor.predict(batch, (0.5,))
        calls.clear()
        model.predictor.predict(batch, (0.5,))
    assert len(calls) == 2


class Normalised(Forecaster):
    """A network with batch statistics: each window's output depends on the others of its batch."""

    def build(self, spec):
        return NormalisedNetwork(spec)


class NormalisedNetwork(nn.Module):
    def __init__(self, spec):
        super().__init__()
        self.shape = (spec.horizon, len(spec.nodes), 1, 2)
        size = spec.window * len(spec.nodes)
        self.layers = nn.Sequential(nn.Linear(size, 8), nn.BatchNorm1d(8), nn.Linear(8, HORIZON * len(spec.nodes) * 2))

    def forward(self, inputs):
        return self.layers(inputs.values[..., 0].flatten(1)).unflatten(-1, self.shape)


def test_a_network_with_batch_statistics_trains_on_whole_batches(monkeypatch):
    data = make_data()
    model = built(Normalised(), data).train()
    batch = next(iter(data.train_dataloader()))
    assert sized(monkeypatch, model, batch, 1) == [16]
    assert len(model.eval()(batch).mean) == 16


def test_a_state_that_is_carried_on_keeps_batches_whole(monkeypatch):
    data = ring_data(ring_panel(), streams=True, every=1)
    model = built(GatedRNN(hidden=8, rollout=RollOut(stateful=True)), data).train()
    batch = next(iter(data.train_dataloader()))
    assert sized(monkeypatch, model, batch, 1) == [len(batch["time"])]


@pytest.mark.parametrize("likelihood", [None, NegativeBinomial()])
def test_measuring_leaves_random_state_and_buffers_as_they_were(monkeypatch, likelihood):
    data = make_data(counts_panel())
    model = built(FORECASTERS["STHSepNet"](dropout=0.5, likelihood=likelihood), data).train()
    batch = next(iter(data.train_dataloader()))
    before = torch.get_rng_state(), {n: b.clone() for n, b in model.named_buffers()}
    assert len(sized(monkeypatch, model, batch, 1)) > 1
    assert torch.equal(torch.get_rng_state(), before[0])
    torch.testing.assert_close(dict(model.named_buffers()), before[1])


@pytest.mark.parametrize("name", ["GatedRNN", "GatedTransformer", "STHSepNet", "CGLUBNF"])
def test_two_fits_in_pieces_of_one_seed_have_the_same_bits(monkeypatch, name):
    with_pieces(monkeypatch, 2**16)
    weights = []
    for _ in range(2):
        model = FORECASTERS[name](**({} if name == "CGLUBNF" else {"dropout": 0.2}))
        fit(model, data_of(name), epochs=2, limit_train_batches=2, limit_val_batches=1)
        weights.append([weight.detach() for weight in model.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*weights, strict=True))


@pytest.mark.parametrize(
    "options",
    [
        {"gradient_clip_val": 0.1},
        {"gradient_clip_val": 0.01, "gradient_clip_algorithm": "value"},
        {"accumulate_grad_batches": 2},
        {},
    ],
)
def test_a_fit_in_pieces_is_that_of_whole_batches(monkeypatch, options):
    """Clipping and accumulation see complete gradients; the logged loss is the same number."""
    found = []
    for most in (WHOLE, 1):
        with_pieces(monkeypatch, most)
        model = FORECASTERS["GatedRNN"](optimizer=lambda weights: torch.optim.SGD(weights, lr=0.01))
        machine = fit(model, make_data(), limit_train_batches=4, limit_val_batches=1, **options)
        found.append([machine.callback_metrics["train_loss"], machine.callback_metrics["val_crps"]])
        found[-1] += [weight.detach() for weight in model.parameters()]
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("inference", [PointEstimate(), Ensemble(2)])
def test_autocast_leaves_its_casts_of_weights_out_of_the_way(monkeypatch, inference):
    model = FORECASTERS["GatedTransformer"](inference=inference)
    with torch.autocast("cpu", torch.bfloat16):
        made = list(steps_of(monkeypatch, model, make_data()))
    pieces = made[1][0]
    found = [(loss, torch.cat([g.flatten() for g in grads.values() if g is not None])) for _, loss, _, grads in made]
    assert pieces > 1
    torch.testing.assert_close(found[1][0], found[0][0], rtol=0.02, atol=0.02)
    assert torch.cosine_similarity(found[0][1], found[1][1], 0) > 0.99


class Shifted(GatedTransformer):
    """A forecaster with a trained number beside its network."""

    def __init__(self, *, inference=None):
        super().__init__(hidden=8, heads=2, inference=inference, **PLAIN)
        self.shift = nn.Parameter(torch.zeros(()))

    def training_target(self, batch):
        return batch["target"] + self.shift


@pytest.mark.parametrize("inference", [None, Ensemble(2)])
def test_weights_beside_the_network_are_trained_too(monkeypatch, inference):
    whole, parts = steps_of(monkeypatch, Shifted(inference=inference), make_data())
    torch.testing.assert_close(parts[-1]["shift"], whole[-1]["shift"])
    assert whole[-1]["shift"] != 0


FORECASTS = FORECASTERS | {
    "samples": lambda: GatedRNN(hidden=8, rollout=RollOut(samples=3), **PLAIN),
    "Ensemble": lambda: FORECASTERS["GatedTransformer"](inference=Ensemble(2)),
    "MeanField": lambda: FORECASTERS["GatedTransformer"](inference=MeanField(draws=3)),
    "Quantiles": lambda: FORECASTERS["GatedRNN"](likelihood=Quantiles()),
    "NegativeBinomial": lambda: FORECASTERS["GatedRNN"](likelihood=NegativeBinomial()),
    "Ridge": lambda: Ridge(),
}


@pytest.mark.parametrize("name", FORECASTS)
def test_forecasts_in_pieces_are_those_of_the_whole_batch(monkeypatch, name):
    data = data_of(name, counts_panel() if name == "NegativeBinomial" else None)
    model = built(FORECASTS[name](), data)
    batch, found = batch_of(data), []
    for most in (WHOLE, 1):
        with_pieces(monkeypatch, most)
        quantiles = model.predictor.predict(batch, (0.05, 0.5, 0.95))
        online = model.predictor.predict_online(batch)
        with torch.inference_mode():
            validated = model.validation_forward(batch).mean
        found.append([quantiles["quantiles"], quantiles["mean"], online["quantiles"], online["score"], validated])
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5, equal_nan=True)
    assert len(found[0][0]) == len(batch["time"]) > 1


CHILD = """
import sys, torch
from pathlib import Path
torch.set_num_threads(1)
from helpers import make_panel, built
import stgate
nodes, batch, most = map(int, sys.argv[1:])
import stgate.inference.pieces as pieces
pieces.MOST = most
panel = make_panel(steps=120, nodes=[str(n) for n in range(nodes)])
data = stgate.data.WindowData(panel, targets="y", window=24, horizon=12, batch_size=batch, split=(0.8, 0.2, 0.0, 0.0))
plain = {"transforms": None, "linear": False, "neighbour_means": "none"}
model = built(stgate.models.GatedRNN(hidden=32, **plain), data).train()
windows = next(iter(data.train_dataloader()))
def peak():  # not from getrusage, which counts what the parent held
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
before = peak()
model.training_step(windows, 0).backward()
print(peak() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the peak is read from /proc")
def test_the_memory_of_a_step_is_that_of_a_piece():
    """Megabytes, in a process of its own: a whole batch keeps what each of its windows computes."""
    taken = {}
    for most in (2**40, 2**14):
        command = [sys.executable, "-c", CHILD, "300", "24", str(most)]
        paths = environment() | {"PYTHONPATH": ":".join([environment()["PYTHONPATH"], *sys.path])}
        made = subprocess.run(command, env=paths, capture_output=True, text=True, check=True)
        taken[most] = float(made.stdout)
    assert taken[2**14] < 0.5 * taken[2**40]
    assert taken[2**40] > 50
