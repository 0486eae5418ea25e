"""Fit a forecaster to a system, resuming where an earlier run was stopped."""

import time
from pathlib import Path

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint

import stgate
from benchmarks.chaos.systems import System, panel_of
from stgate.distributions import Normal
from stgate.models import Forecaster, GatedRNN
from stgate.nn import RollOut

BATCHES = 500
"""Batches of an epoch."""


class Clock(Callback):
    """Seconds spent training, over all runs of one fit, and a line an epoch."""

    def __init__(self):
        self.spent, self._since = 0.0, 0.0

    def on_train_epoch_start(self, trainer, model):
        """Start the watch."""
        self._since = time.perf_counter()

    def on_train_epoch_end(self, trainer, model):
        """Stop it."""
        self.spent += time.perf_counter() - self._since
        scores = {k: float(v) for k, v in trainer.callback_metrics.items() if k in ("train_mae", "train_loss")}
        print(f"epoch {trainer.current_epoch} {self.spent:.0f} s {scores}", flush=True)

    def state_dict(self):
        """Return what the checkpoint keeps."""
        return {"spent": self.spent}

    def load_state_dict(self, state):
        """Take up what the checkpoint kept."""
        self.spent = state["spent"]


def forecaster(system: System) -> Forecaster:
    """The configuration that is fitted to a system."""

    def optimizer(parameters):
        options = {"lr": system.training["rate"], "eps": 1e-15}  # gradients shrink with the error, to 1e-10 and less
        if system.training["optimizer"] == "adam":
            return torch.optim.Adam(parameters, betas=(0.9, 0.99), **options)
        from pytorch_optimizer import SOAP

        return SOAP(list(parameters), betas=system.training["betas"], weight_decay=0.0, **options)

    return GatedRNN(
        cell="none",
        halo=system.halo,
        rollout=RollOut(**system.options),
        likelihood=Normal(min_scale=1e-6, beta=1.0),
        optimizer=optimizer,
    )


def fit(system: System, name: str, work: Path) -> tuple[Forecaster, float]:
    """The fitted forecaster, and the minutes that training took."""
    folder = work / f"{name}-fit"
    done = folder / "fitted.ckpt"
    clock = Clock()
    torch.set_num_threads(1)
    if not done.exists():
        L.seed_everything(0, verbose=False)
        data = stgate.data.WindowData(
            panel_of(system, "train", work),
            targets=[system.variable],
            window=1,
            horizon=system.horizon,
            train_horizon=4,
            split=(1.0, 0.0, 0.0, 0.0),
            batch_size=system.training["batch"],
        )
        model = forecaster(system)
        machine = L.Trainer(
            max_epochs=system.training["epochs"],
            limit_train_batches=BATCHES,
            limit_val_batches=0,
            gradient_clip_val=1.0,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            callbacks=[clock, EMAWeightAveraging(decay=0.995), ModelCheckpoint(folder, save_last=True, save_top_k=0)],
        )
        last = folder / "last.ckpt"
        machine.fit(model, data, ckpt_path=last if last.exists() else None, weights_only=True)
        model.save(done)
        (folder / "seconds").write_text(str(clock.spent))
    return Forecaster.load_from_checkpoint(done), float((folder / "seconds").read_text()) / 60
