"""What the scripts here are asked on the command line, and their scores, kept so that none is made again."""

import argparse
import json
import tempfile
from pathlib import Path

import torch

RESULTS = Path(__file__).parents[1] / "results"


def asked(doc, name, *, seeds=None, validate=False, add=()):
    """The command line's: folder, work, and where a script has them seeds and validate.

    Args:
        doc: The script's docstring.
        name: Of the default folder of scores.
        seeds: How many by default.
        validate: Whether the script can ask validation rows.
        add: Further options with values.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / f"stgate-{name}")
    if seeds:
        parser.add_argument("--seeds", type=int, default=seeds)
    if validate:
        parser.add_argument("--validate", action="store_true")
    for option in add:
        parser.add_argument(option)
    torch.set_num_threads(1)
    return parser.parse_args()


class Kept(dict):
    """Scores by who and seed, in a file of a folder."""

    def __init__(self, folder, name):
        folder.mkdir(parents=True, exist_ok=True)
        self.file = folder / f"{name}.json"
        super().__init__(json.loads(self.file.read_text()) if self.file.exists() else {})

    def once(self, who, seed, make):
        """Make scores that are not there."""
        rows = self.setdefault(who, {})
        if str(seed) not in rows:
            rows[str(seed)] = make()
            self.file.write_text(json.dumps(self, indent=1))
            print(who, seed, json.dumps(rows[str(seed)]), flush=True)


def record(name, lines, scores):
    """Write results, as a table to read and as figures."""
    (RESULTS / f"{name}.md").write_text("\n".join([*lines, ""]))
    (RESULTS / f"{name}.json").write_text(json.dumps(scores, indent=1) + "\n")
