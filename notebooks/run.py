"""Execute every notebook in a temporary folder; stop at the first that fails. Notebooks are kept without outputs."""

import os
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # small tensors: two threads on two busy cores are ten times slower

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError


def main() -> int:
    """Run the notebooks named on the command line, or all beside this file."""
    here = Path(__file__).parent
    for path in [Path(p) for p in sys.argv[1:]] or sorted(here.glob("*.ipynb")):
        started = time.monotonic()
        notebook = nbformat.read(path, as_version=4)
        with tempfile.TemporaryDirectory() as folder:
            try:
                NotebookClient(
                    notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": folder}}
                ).execute()
            except CellExecutionError as error:
                print(f"{path.name}: failed\n{error}", file=sys.stderr)
                return 1
        print(f"{path.name}: ran in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
