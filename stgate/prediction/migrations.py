"""Migrations of checkpoints and configs: each step converts one format to the next, and none is ever removed.

Format 1 (0.1.0): weights by the network's own names, options `fill` and `hide`, calibrations as `scores` and `factors`.
Format 2: weights below `predictor.`, options by the field's own terms, calibrations by the names of `Calibration`.
Format 3: transforms of the targets, statistics of nodes and means over neighbours, which earlier forecasters lack.
Format 4: a linear part, and the kriging of fields, which earlier forecasters lack; `Ridge` has weights across nodes,
    and standard deviations that depend on the features and the node.
Format 5: calibrations by `distribution` are in normal scores, before in levels from 1/2 on; networks with a linear
    part have a share, before all of their correction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from stgate.distributions.ties import EDGE
from stgate.errors import CheckpointError
from stgate.nn.linear import WIDEST, state_size
from stgate.prediction import registry
from stgate.prediction.parts import FAMILIES
from stgate.prediction.plain import OPTIONS, PART_OPTIONS

FORMAT = 5
"""Number of the format that this version writes."""


def migrate(checkpoint: dict[str, Any]) -> None:
    """Convert a checkpoint to today's format, in place.

    Args:
        checkpoint: A checkpoint as a file holds it, with the entry `stgate`.

    Raises:
        CheckpointError: The format is later than today's or not a number, or the checkpoint lacks an entry of it.
    """
    ours = checkpoint["stgate"]
    found = ours.get("format", 1)
    if type(found) is not int or found < 1:
        raise CheckpointError(
            f"checkpoint format {found!r}: must be a whole number from 1 to {FORMAT}; fit the model again"
        )
    if found > FORMAT:
        raise CheckpointError(f"checkpoint format {found}: this version reads up to {FORMAT}; install a newer stgate")
    _migrate_members(checkpoint)
    for number in range(found, FORMAT + 1):
        if lacking := [name for name in NEEDED[number] if name not in ours]:
            raise CheckpointError(f"checkpoint format {found}: must hold `{lacking[0]}`; fit the model again")
        if number < FORMAT:
            STEPS[number](checkpoint)
            ours["format"] = number + 1


def _migrate_members(checkpoint: dict[str, Any]) -> None:
    """Convert the members that a stack's checkpoint holds, each with its own format, class and weights, in place."""
    weights = checkpoint.get("state_dict", {})
    for number, held in enumerate(checkpoint["stgate"].get("members", ())):
        prefix = f"predictor.pooled.{number}."
        names = [name for name in weights if name.startswith(prefix)]
        own = {f"predictor.{name.removeprefix(prefix)}": weights.pop(name) for name in names}
        member = {**held, "state_dict": own}
        migrate(member)
        held |= {name: value for name, value in member.items() if name != "state_dict"}
        weights |= {prefix + name.removeprefix("predictor."): value for name, value in member["state_dict"].items()}


WHOLE = ("n_observations", "transforms", "directions")
NEEDED = {1: ("cases",), 2: ("n_observations",), 3: WHOLE, 4: WHOLE, 5: WHOLE}
"""Entries that a checkpoint of each format holds, besides those of every format."""


def _from_1(checkpoint: dict[str, Any]) -> None:
    ours, options = checkpoint["stgate"], checkpoint["hyper_parameters"]
    for entry in ("state_dict", "current_model_state"):  # the other holds the weights before they are averaged
        if entry in checkpoint:
            weights = {n.replace("scaler.fill.", "scaler.imputation."): w for n, w in checkpoint[entry].items()}
            checkpoint[entry] = {f"predictor.{name}": weight for name, weight in weights.items()}
    checkpoint["hyper_parameters"] = _renamed(options, ours["class"])
    ours["n_observations"] = ours.pop("cases")
    for name in ("calibration", "reconstruction_calibration"):
        if ours.get(name) is not None:
            ours[name] = _calibration_from_1(ours[name])
    if "told" in ours:
        ours["description"] = ours.pop("told")
    if ours["class"] in ("CGLUBNF", "BayesNF"):
        ours.setdefault("reconstruction_calibration", None)


LACKING: dict[str, Any] = {
    "transforms": None,
    "node_statistics": False,
    "neighbour_means": "none",
    "linear": False,
    "kriging": False,
    "node_embedding": 0,
}
"""Options that came with formats 3 and 4, with the values that leave an earlier forecaster as it was."""


def _from_2(checkpoint: dict[str, Any]) -> None:
    ours = checkpoint["stgate"]
    ours |= {"transforms": [], "directions": 0}
    checkpoint["hyper_parameters"] = _completed(checkpoint["hyper_parameters"], ours["class"])


def _from_3(checkpoint: dict[str, Any]) -> None:
    checkpoint["hyper_parameters"] = _completed(checkpoint["hyper_parameters"], checkpoint["stgate"]["class"])
    sizes = {"node_embedding": 0, "hidden": checkpoint["hyper_parameters"].get("hidden")}
    checkpoint["stgate"] |= {**sizes, "range": None}
    weights = checkpoint["state_dict"]
    if checkpoint["stgate"]["class"] != "Ridge" or "predictor.network.weight" not in weights:
        return
    weight, spread = (weights.pop(f"predictor.network.{name}") for name in ("weight", "spread"))
    nodes, (_, leads, targets) = len(checkpoint["stgate"]["spec"]["nodes"]), weight.shape
    every = nodes * targets
    new = {
        "linear.weight": weight,
        "linear.across": weight.new_zeros(state_size(every, leads), leads, nodes, targets),
        "spread": spread / weights["predictor.scaler.scale"][:targets],
        "by_features": torch.zeros_like(weight),
        "by_node": weight.new_ones(nodes, leads, targets),
    }
    if every > WIDEST:
        new["linear.patterns"] = weight.new_zeros(every, state_size(every, leads))
    weights |= {f"predictor.network.{name}": value for name, value in new.items()}


def _from_4(checkpoint: dict[str, Any]) -> None:
    for entry in ("state_dict", "current_model_state"):
        if any(name.startswith("predictor.linear.") for name in checkpoint.get(entry, ())):
            spec = checkpoint["stgate"]["spec"]
            whole = torch.ones(spec["horizon"], 1, len(spec["targets"]), 1)
            checkpoint[entry].setdefault("predictor.share", whole)
    for name in ("calibration", "reconstruction_calibration"):
        held = checkpoint["stgate"].get(name)
        if held is not None and held["conformity_score"] == "distribution":
            level = 0.5 + held["quantiles"].double().clamp(max=0.5 - EDGE)
            score = torch.special.ndtri(level).float()
            checkpoint["stgate"][name] = {
                **held,
                "quantiles": torch.where(torch.isinf(held["quantiles"]), held["quantiles"], score),
            }


def _completed(options: dict[str, Any], forecaster: str) -> dict[str, Any]:
    """Return options with those that the forecaster takes and that came later, as they leave it unchanged."""
    from stgate.prediction import registry  # it reads checkpoints itself

    try:
        taken = registry.signature_of(forecaster).parameters
    except CheckpointError:  # not imported
        return options
    return {**{name: value for name, value in LACKING.items() if name in taken}, **options}


def _renamed(options: dict[str, Any], forecaster: str) -> dict[str, Any]:
    """Return the options of a forecaster, by its class name, and the options of its parts, with today's names."""
    new = {name: today for name, today in OPTIONS.items() if _takes(forecaster, today)}
    renamed = {new.get(name, name): value for name, value in options.items()}
    for name, new in PART_OPTIONS.items():
        part = renamed.get(name)
        if isinstance(part, dict) and isinstance(part.get("init_args"), dict):
            renamed[name] = {**part, "init_args": {new.get(k, k): value for k, value in part["init_args"].items()}}
    return renamed


def _takes(forecaster: str, option: str) -> bool:
    """Return True if a forecaster is one of ours, or an imported class that takes an option of today's name."""
    if forecaster in registry.PREDICTORS:
        return True
    try:
        return option in registry.signature_of(forecaster).parameters
    except CheckpointError:  # not imported
        return False


def _calibration_from_1(old: dict[str, Any]) -> dict[str, Any]:
    names = {"scores": "conformity_score", "factors": "quantiles", "cases": "n_observations"}
    return {names.get(name, name): value for name, value in old.items()}


STEPS: dict[int, Callable[[dict[str, Any]], None]] = {1: _from_1, 2: _from_2, 3: _from_3, 4: _from_4}
"""The step from each format to the next."""


def migrate_config(config: dict[str, Any]) -> dict[str, Any]:
    """Return a run's config with today's names of options; parts of ours keep the class name only, as in a checkpoint.

    Args:
        config: Content of the run's `config.yaml`, of this version or an earlier one.
    """
    model = config.get("model")
    if not isinstance(model, dict) or not isinstance(model.get("init_args"), dict):
        return config
    forecaster = str(model.get("class_path")).rpartition(".")[2]
    options = _completed(_renamed(model["init_args"], forecaster), forecaster)
    for name in FAMILIES.keys() & options.keys():
        part = options[name]
        if isinstance(part, dict) and str(part.get("class_path")).startswith("stgate."):  # its module may have moved
            options[name] = {**part, "class_path": part["class_path"].rpartition(".")[2]}
    return {**config, "model": {**model, "init_args": options}}
