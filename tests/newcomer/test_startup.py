"""What a command imports: nothing that it does not need."""

import subprocess
import sys

HEAVY = ("lightning", "torch", "xarray", "pandas", "matplotlib")


def imported(code):
    script = f"import sys\n{code}\nprint(' '.join(m for m in {HEAVY} if m in sys.modules))"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split())


def test_importing_stgate_imports_neither_xarray_nor_torch():
    assert imported("import stgate") == set()


def test_help_is_standard_library_only():
    assert imported("from stgate.__main__ import main; main(['--help'])") == set()


def test_no_command_but_fit_imports_lightning_for_its_help():
    commands = ("simulate", "evaluate", "data", "plot", "forecast", "backtest")
    code = f"from stgate.__main__ import main\nfor command in {commands}: main([command, '--help'])"
    assert "lightning" not in imported(code)


def test_simulating_and_scoring_need_no_torch(tmp_path):
    arguments = ["simulate", "lorenz96", "--nodes", "8", "--duration", "1", "--out", str(tmp_path / "l96.nc")]
    code = f"from stgate.__main__ import main; main({arguments})\nimport stgate; stgate.evaluate"
    assert not {"torch", "lightning"} & imported(code)
