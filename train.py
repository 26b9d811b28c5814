"""Train a GAN: StyleGAN3-T, StyleGAN3-R or StyleGAN2, with adaptive augmentation."""

if __name__ == "__main__":  # Ctrl-C ends the script quietly even during the other imports
    from dnnlib import interrupts

    interrupts.end_quietly()

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from data import fingerprint
from data.dataset import ImageFolderDataset
from dnnlib import addresses, cli, strict_json, util
from dnnlib.errors import InputError
from dnnlib.options import device_option, version_option
from torch_utils import devices, distributed
from training import (
    advice,
    minibatch_groups,
    preflight,
    presets,
    resume,
    run_dirs,
    time_limit,
    wandb_log,
)
from training import config as training_config
from training import options as run_options
from training.config import TrainConfig
from training.options import Aug, TrainOptions
from training.resume import Continuation
from training.training_loop import Ending, training_loop


@click.command(cls=cli.Command)
@click.option(
    "--outdir",
    type=cli.Address(),
    metavar="DIR",
    help="Where the run creates its folder.  [required]",
)
@click.option(
    "--preset",
    type=click.Choice(list(presets.PRESETS)),
    metavar="NAME",
    help="Start from a row of the tables in docs/configs.md, such as stylegan3-t-256-gpus8; other "
    "options on the command line come first.",
)
@run_options.click_options("cfg")
@click.option("--data", type=cli.Address(), metavar="ZIP|DIR", help="Training images.  [required]")
@run_options.click_options("gpus", "gamma")
@click.option("--cond", type=bool, default=False, show_default=True, help="Train with labels.")
@run_options.click_options("mirror", "mbstd_group")
@click.option("--desc", metavar="STR", help="Text to append to the name of the run's folder.")
@run_options.click_options("metrics", "cache")
@click.option(
    "--allow-other-data",
    type=bool,
    default=False,
    show_default=True,
    help="Continue a run with other images, those of --data.",
)
@click.option("-n", "--dry-run", is_flag=True, help="Print the options and exit.")
@device_option
@version_option
def main(device: str, dry_run: bool, **options: Any) -> None:
    """Train a generator of images.

    Each run gets a folder of its own below --outdir, with a log, sheets of generated images
    (fakes*.png), network pickles (network-snapshot-*.pkl), and statistics for TensorBoard.

    \b
    Examples:
      # StyleGAN3-T on 8 GPUs, 256x256
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=photos-256x256.zip \\
          --gpus=8 --batch=32 --gamma=2 --cbase=16384 --mirror=1
      # The same, with the options of a preset; a wrong name lists all presets
      python train.py --outdir=training-runs --preset=stylegan3-t-256-gpus8 \\
          --data=photos-256x256.zip --mirror=1
      # One GPU: the same batch in four passes
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=photos-256x256.zip \\
          --gpus=1 --batch=32 --batch-gpu=8 --gamma=2 --cbase=16384 --mirror=1
      # From a trained network, with a small dataset
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=pets-256x256.zip \\
          --gpus=8 --batch=32 --gamma=2 --cbase=16384 --mirror=1 --kimg=5000 --snap=5 \\
          --resume=network.pkl
      # Continue an interrupted run exactly where its last state was saved
      python train.py --resume=training-runs/00003-stylegan3-t-photos-256x256-gpus8-batch32-gamma2
      # A laptop without a GPU: a small network on small images
      python train.py --outdir=training-runs --cfg=stylegan3-t --data=shapes.zip --device=cpu \\
          --gpus=1 --batch=4 --gamma=1 --cbase=512 --cmax=32 --aug=noaug --kimg=6 --tick=1 \\
          --snap=2 --metrics=none

    \b
    The processes share --batch, which must be a multiple of --gpus. If the part of a process does
    not fit into memory, --batch-gpu divides it into passes; --batch-gpu=auto finds the largest that
    fit. Under torchrun the processes exist already, and --gpus is their number.

    \b
    The complete state of the run is saved with every snapshot, every --state-minutes, and when the
    run is asked to stop (Ctrl-C, SIGTERM). --resume=latest, or the folder of a run, continues it
    with the options that it was started with; some of them can change, such as --kimg or --gpus.

    \b
    Metrics need feature networks, which are downloaded once. A metric whose network is unavailable
    is left out, and a run goes on when a metric fails. Without internet, put the files into the
    folder that the environment variable STYLEGAN3_DETECTOR_DIR names.
    """
    num_processes = distributed.num_torchrun_processes()
    if options["gpus"] is None:
        options["gpus"] = num_processes
    options = _with_preset(options)
    if distributed.is_main_process():
        ending = _train(device, dry_run, options)
        if ending == Ending.TIME and num_processes is None:  # torchrun would restart the processes
            click.get_current_context().exit(time_limit.EXIT_CODE)
    elif not dry_run:
        # The main process reads the options, and sends the configuration to this one.
        assert num_processes is not None, "torchrun started this process"
        distributed.launch(training_loop, num_processes, device, None)


def _train(device: str, dry_run: bool, options: dict[str, Any]) -> str | None:
    """Check the options, print the configuration, and train; return why training ended."""
    session_start = time_limit.session_start()
    run = find_run(options)
    if run is None and options["resume"] == "latest":
        click.echo(
            f"Note: no run in {options['outdir']} has saved a state yet: this one starts afresh."
        )
        options = {**options, "resume": None}
    with contextlib.ExitStack() as stack:
        if run is not None and not dry_run:
            stack.enter_context(preflight.sole_trainer(run.run_dir))
            # The process that trained the run until now may have saved a newer state.
            run = resume.refresh(run, options["resume"])
        config, training_set = new_run(options) if run is None else continued_run(run, options)
        if not dry_run:
            # Done before the configuration, which names the run's folder, is printed.
            config = prepare_run(config, training_set, device, is_new=run is None)
        click.echo(describe(config, training_set, is_continued=run is not None))
        if run is not None:
            click.echo(f"Continuing from {util.printable(str(run.state_path))}")
        if dry_run:
            if (note := _note_on_dry_run(config, run)) is not None:
                click.echo(note)
            click.echo("Dry run; exiting.")
            return None
        if config.metrics and devices.resolve_device(device).type == "cpu":
            click.echo(
                "Note: without a GPU every evaluation of a metric, at each snapshot, can take "
                "hours; --metrics=none leaves them out."
            )
        if run is None:
            stack.enter_context(preflight.sole_trainer(Path(config.run_dir)))
        state_path = None if run is None else run.state_path
        stack.enter_context(preflight.last_words(Path(config.run_dir)))
        return distributed.launch(
            training_loop, config.num_gpus, device, config, state_path, session_start
        )


def _note_on_dry_run(config: TrainConfig, run: Continuation | None) -> str | None:
    """A note on checks of `--resume` that a dry run omits; `None` if it omits none."""
    if run is not None:
        return resume.nothing_to_train(run.state["cur_nimg"], config.total_kimg)
    if config.resume_pkl is None:
        return None
    if util.is_url(config.resume_pkl):
        return "Note: a dry run does not fetch --resume, nor check whether the network fits."
    return "Note: a dry run does not open --resume, nor check whether the network fits."


def find_run(options: dict[str, Any]) -> Continuation | None:
    """The run to continue, if the options ask for one or `torchrun` has restarted this."""
    outdir = options["outdir"]
    if options["resume"] == "latest" and outdir is None:
        raise click.UsageError("--resume=latest needs --outdir, where it looks for the latest run.")
    with cli.blame("--resume"):
        run = resume.find(options["resume"], Path(outdir or "."))
        if run is None and outdir is None:
            preflight.check_resume(options["resume"])  # perhaps a misspelt folder of a run
    describes_run = any(options[name] is not None for name in ("cfg", "data", "batch", "gamma"))
    if run is None and options["resume"] == "latest" and not describes_run:
        # The command continues a run, so the run must be in another folder.
        raise click.UsageError(
            f"--resume=latest: no run in {outdir} has saved a state yet; is this the --outdir of "
            "the run? A new run needs --cfg, --data, --gpus, --batch and --gamma, too, or --data "
            "and --preset."
        )
    launch_id = distributed.launch_id()
    if run is None and launch_id is not None and outdir is not None:
        # Torchrun starts the same command again after a failure.
        started = resume.find_latest(Path(outdir), f"-{_description(options)}")
        if started is not None and started.state["launch_id"] == launch_id:
            return started
    return run


def new_run(options: dict[str, Any]) -> tuple[TrainConfig, ImageFolderDataset]:
    """The new run that the options describe, and its dataset."""
    _require(options, "outdir", "cfg", "data", "gpus", "batch", "gamma")
    given = _given(options)
    training_set = _open_training_set(options)
    if options["preset"] is not None:
        preset = presets.PRESETS[options["preset"]]
        click.echo(presets.describe(preset, given))
        if (note := presets.check(preset, given, training_set.resolution)) is not None:
            click.echo(f"Note: {note}")
    if options["gamma"] == run_options.AUTO:
        options = _with_gamma(options, training_set)
        click.echo(advice.on_automatic_gamma(options["gamma"]))
    _note_options_without_effect(options["aug"], given)
    if options["d_map_depth"] is not None and not options["cond"]:
        click.echo("Note: --d-map-depth has no effect without --cond=1: D then maps no labels.")
    train_options = _train_options(options)
    config = training_config.make_config(
        train_options,
        training_set_kwargs(
            training_set,
            options["data"],
            use_labels=options["cond"],
            xflip=options["mirror"],
            random_seed=train_options.seed,
        ),
    )
    outdir = Path(options["outdir"]).absolute()
    preflight.check_outdir(outdir, Path(options["data"]))
    preflight.check_resume(options["resume"])
    run_dir = run_dirs.next_run_dir(outdir, _description(options))
    if options["allow_other_data"]:
        click.echo("Note: --allow-other-data=1 has no effect: the run is a new one.")
    config = dataclasses.replace(
        config,
        run_dir=str(run_dir),
        given={name: options[name] for name in ("outdir", "data", "preset", "resume")},
        dataset_fingerprint=_fingerprint(training_set),
    )
    return config, training_set


def continued_run(
    run: Continuation, options: dict[str, Any]
) -> tuple[TrainConfig, ImageFolderDataset]:
    """The run as it was started, with the changes on the command line, and its dataset."""
    given = _given(options)
    is_automatic = given.get("gamma") == run_options.AUTO
    if is_automatic:
        del given["gamma"]
    _check_saved_options(run)
    saved_preset = run.state.get("given", {}).get("preset")
    resume.check_unchanged("--preset", saved_preset, given.get("preset", saved_preset))
    train_options, note = resume.fit_batch_gpu(resume.combine(run.state["options"], given), given)
    if note is not None:
        click.echo(note)
    if run.state["options"].get("allow_untrusted") and not train_options.allow_untrusted:
        click.echo("Note: --allow-untrusted is not taken over from the state; give it again.")
    if "outdir" in given and Path(given["outdir"]).resolve() != run.run_dir.resolve().parent:
        click.echo(f"Note: --outdir has no effect: the run goes on in {run.run_dir}.")
    saved = run.state["training_set_kwargs"]
    use_labels = saved["use_labels"]
    resume.check_unchanged("--cond", use_labels, given.get("cond", use_labels))
    data = given.get("data", saved["path"])
    if options["allow_other_data"] and "data" not in given:
        raise click.UsageError(
            "--allow-other-data=1 needs --data=PATH, which names the other data."
        )
    if "data" not in given and not Path(data).exists():
        raise FileNotFoundError(
            f"--data: the run was trained on {data}, which no longer exists; --data=PATH names "
            "its new place"
        )
    training_set = preflight.open_training_set(
        data, use_labels, train_options.aug, train_options.augpipe
    )
    kwargs = training_set_kwargs(
        training_set, data, use_labels, train_options.mirror, train_options.seed
    )
    started_with = resume.combine(run.state["options"], {})
    given_before = run.state.get("given", {}).get("data", saved["path"])
    old, new = run.state.get("dataset_fingerprint"), _fingerprint(training_set)
    resume.check_training_set(saved, kwargs, old, new, options["allow_other_data"])
    if is_automatic:
        gamma = advice.rounded_gamma(
            train_options.cfg, training_set.resolution, train_options.batch
        )
        train_options = dataclasses.replace(train_options, gamma=gamma)
        click.echo(advice.on_automatic_gamma(gamma))
    _note_options_without_effect(train_options.aug, given)
    config = dataclasses.replace(
        training_config.make_config(train_options, kwargs, started_with),
        run_dir=str(run.run_dir.absolute()),
        given={**run.state.get("given", {}), "data": given.get("data", given_before)},
        dataset_fingerprint=new,
    )
    resume.check_networks(run.state, preflight.build_networks(config, training_set))
    if fingerprint.is_unknown(old):
        click.echo(
            "Note: an older version saved the state, without a record of the run's data; the run "
            f"continues with what is now in {util.printable(kwargs['path'])}."
        )
    elif differences := fingerprint.differences(old, new):
        click.echo(f"Note: from here on the run has {' and '.join(differences)}.")
    return config, training_set


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options on the command line; torchrun gives `gpus`."""
    context = click.get_current_context()
    given = {
        name: value
        for name, value in options.items()
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if (num_processes := distributed.num_torchrun_processes()) is not None:
        given["gpus"] = num_processes
    return given


def _with_preset(options: dict[str, Any]) -> dict[str, Any]:
    """The options; those of `--preset` take the places of options that are not given."""
    if options["preset"] is None:
        return options
    context = click.get_current_context()
    params = {param.name: param for param in context.command.params}
    missing = presets.missing_options(presets.PRESETS[options["preset"]], _given(options))
    values = {name: params[name].type_cast_value(context, text) for name, text in missing.items()}
    return {**options, **values}


def _with_gamma(options: dict[str, Any], training_set: ImageFolderDataset) -> dict[str, Any]:
    """The options, with a number in place of `--gamma=auto`."""
    size = training_set.resolution
    return {**options, "gamma": advice.rounded_gamma(options["cfg"], size, options["batch"])}


def _note_options_without_effect(aug: Aug, given: dict[str, Any]) -> None:
    for flag in training_config.options_without_effect(aug, given):
        click.echo(f"Note: {flag} has no effect with --aug={aug}.")


def _check_saved_options(run: Continuation) -> None:
    """Refuse saved options that the command line would refuse: the file is damaged or forged."""
    context = click.get_current_context()
    for param in context.command.params:
        value = run.state["options"].get(param.name)
        if isinstance(value, (list, tuple)):
            value = ",".join(value) or "none"
        elif isinstance(value, (bool, str, type(None))):  # `checkpoint.load` has checked these
            continue
        try:
            param.type.convert(value, param, context)
        except click.BadParameter as error:
            raise InputError(
                f"{run.state_path}: the training state is damaged, or of another program "
                f"({param.opts[0]}: {error.message})"
            ) from error


def _fingerprint(training_set: ImageFolderDataset) -> dict[str, Any]:
    with cli.blame("--data"):
        return training_set.fingerprint()


def prepare_run(
    config: TrainConfig, training_set: ImageFolderDataset, device: str, is_new: bool
) -> TrainConfig:
    """Do the checks that take time, then write the options into the folder of the run."""
    distributed.check_devices(config.num_gpus, device)
    if config.wandb is not None:
        wandb_log.check_package()
    config = preflight.choose_cache(config, training_set)
    for line in preflight.check_images(training_set):
        click.echo(line)
    if is_new:
        preflight.check_networks(config, training_set)
        return preflight.create_run_dir(config)
    preflight.save_options(config)
    return config


def _open_training_set(options: dict[str, Any]) -> ImageFolderDataset:
    return preflight.open_training_set(
        options["data"], options["cond"], options["aug"], options["augpipe"]
    )


def _train_options(options: dict[str, Any]) -> TrainOptions:
    train_options = run_options.make(options)
    resume_from = train_options.resume
    if resume_from is None or addresses.is_address(resume_from):
        return train_options
    return dataclasses.replace(train_options, resume=str(Path(resume_from).absolute()))


def _description(options: dict[str, Any]) -> str:
    """The name of the run's folder, after the number."""
    _require(options, "cfg", "data", "gpus", "batch", "gamma")
    if options["gamma"] == run_options.AUTO:
        options = _with_gamma(options, _open_training_set(options))
    name = Path(options["data"]).absolute().stem
    return training_config.run_description(_train_options(options), name, options["desc"])


def _require(options: dict[str, Any], *names: str) -> None:
    """Refuse a new run without these options; a run to continue has them already."""
    context = click.get_current_context()
    for param in context.command.params:
        if param.name in names and options[param.name] is None:
            raise click.MissingParameter(ctx=context, param=param)


def training_set_kwargs(
    training_set: ImageFolderDataset, data: str, use_labels: bool, xflip: bool, random_seed: int
) -> dict[str, Any]:
    """Arguments from which every process, and every reader of a pickle, constructs the dataset."""
    return dict(
        class_name="training.dataset.ImageFolderDataset",
        path=str(Path(data).absolute()),  # absolute: programs in other folders read it
        use_labels=use_labels,
        max_size=len(training_set),
        xflip=xflip,
        resolution=training_set.resolution,
        random_seed=random_seed,
    )


def describe(
    config: TrainConfig, training_set: ImageFolderDataset, is_continued: bool = False
) -> str:
    """The configuration as JSON, its most important values, and notes on easy oversights."""
    lines = [
        "",
        "Training options:",
        strict_json.dumps(config.to_dict(), indent=2),
        "",
        f"Output directory:    {util.printable(config.run_dir)}",
        f"Processes:           {config.num_gpus}",
        f"Batch size:          {config.batch_size} images",
        f"Training duration:   {config.total_kimg} kimg",
        f"Dataset path:        {util.printable(config.training_set_kwargs['path'])}",
        f"Dataset size:        {len(training_set)} images",
        f"Dataset resolution:  {training_set.resolution}",
        f"Dataset labels:      {config.training_set_kwargs['use_labels']}",
        f"Dataset x-flips:     {config.training_set_kwargs['xflip']}",
        "",
    ]
    if (unused := training_set.describe_unused_labels()) is not None:
        lines.append(f"Note: {unused}")
    lines += [f"Note: {note}" for note in training_set.label_notes()]
    if not config.metrics:
        lines.append("Note: no metrics are evaluated during this run (--metrics=none).")
    about_groups = minibatch_groups.notice(
        config.batch_size,
        config.num_gpus,
        config.batch_gpu,
        config.D_kwargs["epilogue_kwargs"]["mbstd_group_size"],
        is_continued,
    )
    if about_groups is not None:
        lines.append(about_groups)
    if config.options.batch_gpu == run_options.AUTO:
        lines.append(
            f"Note: --batch-gpu=auto tries, before training starts, whether {config.batch_gpu} "
            "samples per process and pass fit into memory, or how many."
        )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
