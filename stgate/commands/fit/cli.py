"""`stgate fit | validate | test | predict`: Lightning's own commands, with runs in folders and errors in one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("POSSIBLE_USER_WARNINGS", "0")  # workers and log intervals are chosen on purpose
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # of calls that Lightning 2.6 makes
warnings.filterwarnings("ignore", message=".*(LeafSpec|isinstance\\(treespec).*", category=FutureWarning)

import lightning as L  # noqa: E402 (after the settings that its import reads)
import yaml  # noqa: E402
from lightning.fabric.plugins import CheckpointIO  # noqa: E402
from lightning.fabric.utilities.exceptions import MisconfigurationException  # noqa: E402
from lightning.pytorch.callbacks import Callback  # noqa: E402
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI  # noqa: E402

from stgate import models  # noqa: E402
from stgate.commands.fit import processes, ranks  # noqa: E402
from stgate.commands.fit.arguments import begun_with, check_files, is_automatic, model_name, prepare, value_of  # noqa: E402
from stgate.commands.fit.completion import finish, keep_last  # noqa: E402
from stgate.commands.fit.folder import check_run_folder, never_began  # noqa: E402
from stgate.commands.fit.limits import check_seed, check_trainer, check_trainer_given  # noqa: E402
from stgate.commands.fit.messages import root_of  # noqa: E402
from stgate.commands.fit.one_line import OneLineParser, ignore_known  # noqa: E402
from stgate.commands.fit.resumption import Keeper, RunFolder, check_resumed, not_taken_up  # noqa: E402
from stgate.commands.fit.runs import AtomicCheckpoints, EpochLines, Reference, quiet  # noqa: E402
from stgate.commands.fit.words import BOTH, MONITORS, no_checkpoint, not_one_of  # noqa: E402
from stgate.commands.parser import report_written  # noqa: E402
from stgate.data.window_data import WindowData  # noqa: E402
from stgate.errors import CheckpointError, Interrupted, RequestError, TrainingError  # noqa: E402
from stgate.fitting import CalibrationMode  # noqa: E402
from stgate.fitting.choice import choose  # noqa: E402
from stgate.forecasting.dataset import assemble  # noqa: E402
from stgate.io import store  # noqa: E402
from stgate.io.safe.lock import claimed  # noqa: E402
from stgate.io.safe.reading import reading  # noqa: E402
from stgate.io.safe.temporaries import sweep  # noqa: E402
from stgate.models.forecaster import Forecaster  # noqa: E402
from stgate.models.training.plan import early_stopping, epochs_for  # noqa: E402
from stgate.models.training.taken_up import check_optimizer, check_rows  # noqa: E402
from stgate.prediction import checkpoint as ckpt  # noqa: E402
from stgate.prediction import registry  # noqa: E402
from stgate.prediction.parts import FAMILIES, completed_part  # noqa: E402
from stgate.schema.forecast import quantiles_of  # noqa: E402

for _name in models.__all__:  # a bare class name is known once its class is imported
    getattr(models, _name)

COMMANDS = ("fit", "validate", "test", "predict")


def run(command: str, arguments: Sequence[str]) -> None:
    """Run one of Lightning's commands."""
    quiet()
    check_files(arguments)
    automatic = command == "fit" and is_automatic(arguments)
    prepared = [*arguments] if automatic else prepare(command, list(arguments))
    argv, sys.argv = sys.argv, [f"stgate {command}"]  # Lightning looks there too, and warns of arguments given twice
    try:
        with warnings.catch_warnings():
            ignore_known()
            with contextlib.ExitStack() as held:
                if not ranks.is_first(several=ranks.asked_for_several(arguments)):
                    held.enter_context(processes.silent())
                if automatic:
                    from stgate.commands.fit.auto import run_auto

                    processes.check_alone("--model auto")
                    run_auto(prepared)
                else:
                    ForecasterCLI(command, prepared, held, [command, *arguments])
    except MisconfigurationException as error:  # Lightning's word for a wrong request
        raise RequestError(str(error).splitlines()[0]) from error
    except RuntimeError as error:
        if "loading state_dict" not in str(error):
            raise
        raise CheckpointError("--ckpt_path: its weights do not fit the model; fit the model again") from error
    except (ValueError, TypeError) as error:  # jsonargparse wraps what a class's own __init__ raises
        raise root_of(error) from error
    finally:
        sys.argv = argv


class ForecasterCLI(LightningCLI):
    """LightningCLI with a run folder, a checkpoint that defines the model, and calibration after the fit.

    Args:
        command: `fit`, `validate`, `test` or `predict`.
        arguments: Arguments of the command, completed by `prepare`.
        held: What is released when the command ends: the lock on the run's folder.
        words: The command and its arguments as typed, which start other processes of a fit.
    """

    def __init__(self, command: str, arguments: list[str], held: contextlib.ExitStack, words: list[str]) -> None:
        self.command, self.held, self.words = command, held, words
        self.checkpoint = _checkpoint_of(command, arguments)
        named = self.checkpoint[ckpt.KEY]["class"] if self.checkpoint else model_name(arguments)
        super().__init__(
            Forecaster,
            _data_class(named),
            subclass_mode_model=True,
            seed_everything_default=0,
            save_config_callback=None,
            trainer_defaults={"max_epochs": None, "enable_model_summary": False, "devices": 1},
            parser_class=OneLineParser,
            parser_kwargs={"allow_abbrev": False, command: {"allow_abbrev": False}},
            auto_configure_optimizers=False,
            load_from_checkpoint_support=False,
            args=[command, *arguments],
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override] # Lightning calls it on the instance
        """Name the one command that was asked for; a parser for each of Lightning's four takes four times as long."""
        return {self.command: LightningCLI.subcommands()[self.command]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our options to Lightning's."""
        what = "fit: the run's folder (default runs/<config or model>); predict: the forecast, .nc or .zarr"
        parser.add_argument("--out", type=str | None, default=None, help=what)
        parser.add_argument("--resume", action="store_true", help="fit: continue from the last epoch in --out")
        parser.add_argument("--overwrite", action="store_true", help="replace an existing --out")
        parser.add_argument(
            "--monitor",
            type=str | None,
            default=None,
            help=f"fit: score whose lowest value marks the best epoch: {', '.join(MONITORS)} (null: the model's own)",
        )
        parser.add_argument(
            "--calibration",
            type=CalibrationMode,
            default="auto",
            help="fit: split leaves the calibration part out of the fit; refit fits once more on all rows before the "
            "test part; cross does too, and takes errors from fits without each of five blocks; auto: by length",
        )
        if self.checkpoint is not None:
            options = {k: v for k, v in self.checkpoint["hyper_parameters"].items() if not k.startswith("_")}
            path = _class_path(self.checkpoint[ckpt.KEY]["class"])
            parser.set_defaults({"model": {"class_path": path, "init_args": options}})

    def _parse_ckpt_path(self) -> None:
        """Refuse a model that disagrees with the checkpoint, where Lightning would silently prefer the checkpoint."""
        if self.checkpoint is None:
            return
        model = self.config[self.command].model
        kind = str(model.class_path).rsplit(".", 1)[-1]
        fitted = self.checkpoint[ckpt.KEY]["class"]
        if kind != fitted:
            raise RequestError(f"--model {kind}: the checkpoint holds a {fitted}; leave --model out")
        for name, stored in self.checkpoint["hyper_parameters"].items():
            # Options of parts that were added later have their defaults in both.
            given, stored = (completed_part(name, value) for value in (model.init_args.get(name), stored))
            if name in FAMILIES and given is None:
                continue
            if not name.startswith("_") and given != stored:
                raise RequestError(
                    f"--model.{name} {given}: the checkpoint was fitted with {stored}; leave --model.{name} out"
                )

    def _set_seed(self) -> None:
        check_seed(self.config[self.command].seed_everything)
        super()._set_seed()

    def before_instantiate_classes(self) -> None:
        """Check the run's folder before anything is loaded."""
        config = self.config[self.command]
        check_trainer_given(config.trainer)
        self.several = ranks.asks_for_several(config.trainer.devices, config.trainer.num_nodes)
        self.first = ranks.is_first(several=self.several)
        if not self.first:
            self.held.enter_context(processes.silent())
        if self.command == "predict":
            if config.out is None:
                raise RequestError("--out: missing; give the file to write, such as hindcast.nc")
            self.out = store.check_out(config.out, overwrite=config.overwrite)
        if self.command == "fit":
            if config.out is None:
                raise RequestError("--out null: give the run's folder, or leave it out")
            self.out = Path(config.out)
            if config.monitor not in (None, *MONITORS):
                raise RequestError(not_one_of("monitor", config.monitor, MONITORS))
            check_trainer(config.trainer)
            if config.resume and config.overwrite:
                raise RequestError(BOTH)
            check_run_folder(self.out, resume=config.resume, overwrite=config.overwrite)
            if config.resume:
                self._check_resumed()

    def _check_resumed(self) -> None:
        """Refuse options that are not those of the run; a run whose options are not kept is compared by its rows."""
        begun = begun_with(self.out)
        if begun is not None and self.checkpoint is not None:
            parser = self._parser("fit")
            completed = parser.parse_object(begun)
            asked, before = (yaml.safe_load(parser.dump(c, skip_none=False)) for c in (self.config["fit"], completed))
            given = (asked.get("model") or {}).get("init_args") or {}
            unsaid = {name for name in FAMILIES if given.get(name) is None}  # the default, not the checkpoint's
            check_resumed(asked, before, compared=",".join(self.checkpoint["hyper_parameters"].keys() - unsaid))

    def instantiate_classes(self) -> None:
        """Make data, model and trainer; refuse an unsuitable panel or optimizer before the run's folder is made."""
        config = self.config[self.command]
        self.config_init = self.parser.instantiate_classes(self.config)
        self.datamodule, self.model = self._get(self.config_init, "data"), self._get(self.config_init, "model")
        self.datamodule.setup()
        if self.checkpoint is not None:  # sizes and transforms are the checkpoint's, not chosen anew
            self.model.on_load_checkpoint(self.checkpoint)
        self.model.adopt(self.datamodule)
        if self.command == "fit":
            if self.model.automatic_optimization:
                self.model.make_optimizer()
            if self.checkpoint is not None:
                with reading("--ckpt_path", "checkpoint of a fit", CheckpointError):
                    if self.model.automatic_optimization:
                        check_optimizer(self.checkpoint, self.model)
                    if config.resume:
                        check_rows(self.checkpoint, self.datamodule)
            self.choice = choose(config.calibration, self.model, self.datamodule)
            if self.first:
                self.held.enter_context(claimed(self.out))
                sweep(self.out)  # a fit that was complete writes nothing more
                # Again: another fit may have ended in between.
                check_run_folder(self.out, resume=config.resume, overwrite=config.overwrite)
            start, stop = self.datamodule.parts.validation
            monitor = config.monitor or self.model.monitor
            kept = monitor if stop > start and self.model.automatic_optimization else None
            self.keepers = [Keeper(self.out, "last", None, resume=config.resume)]
            if kept is not None:  # written when the score is the lowest so far
                self.keepers.insert(0, Keeper(self.out, "best", kept, resume=config.resume))
            self.folder = RunFolder(self.out, resume=config.resume, config=self._dumped)
            self._plan(config.trainer, monitor)
            chosen = config.trainer.logger
            self.trainer = self.instantiate_trainer(
                logger=self.folder.scores
                if chosen is None or chosen is True
                else self._get(self.config_init, "trainer").logger,
                default_root_dir=config.trainer.default_root_dir or str(self.out),
            )
        else:
            self.trainer = self.instantiate_trainer(logger=False, enable_checkpointing=False)
        processes.check_processes(self.trainer, self.command, self.model)

    def _plan(self, config: Any, monitor: str) -> None:  # noqa: ANN401 (a parsed namespace)
        """Set the number of epochs where none is given, and stop early on the monitored score."""
        limits = (config.max_epochs, config.get("max_steps"), config.get("max_time"))
        if limits in ((None, None, None), (None, -1, None)):
            epochs = epochs_for(len(self.datamodule.train_dataloader())) if self.model.automatic_optimization else 1
            config.max_epochs = self._get(self.config_init, "trainer").max_epochs = epochs
        self.additions: list[Callback] = [] if config.fast_dev_run else [Reference(monitor)]
        asked = "EarlyStopping" in str(config.callbacks)
        if self.keepers[0].monitor and config.max_epochs and self.model.stops_early and not asked:
            self.additions.append(early_stopping(monitor, config.max_epochs))

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Any]) -> L.Trainer:
        if self.command == "fit":
            callbacks = [self.folder, *callbacks, *self.keepers, *self.additions]
            plugins = config.get("plugins") or []
            plugins = plugins if isinstance(plugins, list) else [plugins]
            own = any(isinstance(plugin, CheckpointIO) for plugin in plugins)
            config["plugins"] = plugins if own else [*plugins, AtomicCheckpoints()]
        if not sys.stderr.isatty():
            callbacks = [*callbacks, EpochLines()]
            config["enable_progress_bar"] = False
        try:
            return super()._instantiate_trainer(config, callbacks)
        except (ValueError, TypeError, ImportError, RuntimeError) as error:  # of options that do not fit together
            raise RequestError(f"--trainer: {' '.join(str(error).split())[:200]}") from error

    def fit(self, **arguments: Any) -> None:  # noqa: ANN401 (those of Trainer.fit)
        """Run Lightning's fit; Ctrl-C prints how to continue."""
        self.others = self.held.enter_context(processes.Others(self.trainer, self.words))
        try:
            self.trainer.fit(**arguments)
        except Exception as error:
            if lost := self.others.lost(error):
                raise TrainingError(f"{lost}; continue with: stgate fit --out {self.out} --resume") from error
            if self.first and never_began(self.out):  # a wrong request leaves no partial run behind
                shutil.rmtree(self.out)
            if str(error).startswith("Early stopping conditioned on"):  # a callback of the user's own
                raise RequestError(f"--trainer.callbacks: {str(error).split('.')[0]}") from error
            if "`val_check_interval`" in str(error):  # Lightning's, of the number of batches
                raise RequestError(f"--trainer.val_check_interval: {str(error).strip().split('. ')[0]}") from error
            if self.checkpoint and not self.folder.started and (refusal := not_taken_up(error)):
                raise refusal from error
            raise
        except (KeyboardInterrupt, SystemExit) as error:  # Lightning turns the one into the other
            kept = self.folder.begun and (self.out / "last.ckpt").exists()
            hint = f"continue with: stgate fit --out {self.out} --resume" if kept else "no epoch was complete"
            raise Interrupted(f"interrupted in epoch {self.trainer.current_epoch + 1}; {hint}") from error

    def after_fit(self) -> None:
        """Calibrate the best epoch's forecaster and store the calibration in its checkpoint."""
        best = self.out / "best.ckpt"
        monitor = self.keepers[0].monitor
        if monitor is None or not self.trainer.strategy.broadcast(best.is_file()):
            keep_last(self.trainer, best, monitor)
        elif monitor not in self.trainer.callback_metrics:
            print("no further epoch was validated: the best epoch is the same as before", file=sys.stderr)
        self.others.part()
        if not self.first:
            return
        try:
            finish(best, self.datamodule, self.choice, self.trainer.max_epochs, self._anew)
        except (KeyboardInterrupt, SystemExit) as error:
            hint = f"continue with: stgate fit --out {self.out} --resume"
            raise Interrupted(f"interrupted after the last epoch, before the calibration; {hint}") from error
        report_written(best)

    def _dumped(self) -> str:
        """Return the text of the run's config, without what is of this one command."""
        config = self.config["fit"].clone()
        if config.resume:
            config.ckpt_path = None
        config.resume = config.overwrite = False
        return str(self._parser("fit").dump(config, skip_none=False))

    def _anew(self) -> tuple[Forecaster, dict[str, Any]]:
        """Make the forecaster and the trainer's options once more."""
        made = self.parser.instantiate_classes(self.config)
        options = dict(self._get(made, "trainer"))
        if self.several:  # this process goes on alone
            devices = options["devices"]
            options |= {"devices": devices[:1] if isinstance(devices, list) else 1, "num_nodes": 1, "strategy": "auto"}
        return self._get(made, "model"), options

    def predict(self, **arguments: Any) -> None:  # noqa: ANN401 (those of Trainer.predict)
        """Run Lightning's predict, and write its batches as one forecast."""
        predictions: Any = self.trainer.predict(**{**arguments, "return_predictions": True})
        forecast = assemble(self.model.predictor, self.datamodule.panel, predictions, quantiles_of((0.5, 0.9)))
        forecast.attrs["history"] = store.history("predict")
        report_written(store.write(forecast, self.out, overwrite=self.config[self.command].overwrite))


def _checkpoint_of(command: str, arguments: list[str]) -> dict[str, Any] | None:
    path = value_of(arguments, "--ckpt_path")
    if {"-h", "--help"} & set(arguments) or path is None:
        if command != "fit" and path is None and not {"-h", "--help"} & set(arguments):
            raise RequestError(no_checkpoint(command))
        return None
    checkpoint = ckpt.read_checkpoint(path)
    name = checkpoint[ckpt.KEY]["class"]
    if name not in registry.holders():
        raise RequestError(
            f"--ckpt_path {path}: holds a {name}, which is not imported; give its import path as --model, such as "
            f"mymodule.{name}"
        )
    return checkpoint


def _class_path(name: str) -> str:
    """Return the name of a forecaster of ours, or the import path of another one that is imported."""
    kind = registry.holder(name)
    return name if registry.is_ours(kind) else f"{kind.__module__}.{kind.__qualname__}"


def _data_class(model: str | None) -> type[L.LightningDataModule]:
    """Return the data module of a forecaster; `WindowData` if the forecaster is not known."""
    known = registry.holders()
    kind = known.get((model or "").rsplit(".", 1)[-1])
    return WindowData if kind is None else kind.data_class
