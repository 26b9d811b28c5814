"""Build the sound files that the scripts need beside a hostile one."""

from pathlib import Path
from unittest import mock

import click
import numpy as np
import torch
from click.testing import CliRunner

import train
from metrics import inception
from tests.attack.entrances import TRAINING, Props
from tests.metrics import stand_ins
from training.training_loop import Trainer


def build(folder: Path) -> None:
    """Write a dataset, a network, a state of the run that made it, and feature networks."""
    props = Props(folder)
    stand_ins.save_dataset(props.dataset, 4)
    stand_ins.save_detectors(folder)
    torch.save(inception.InceptionV3().state_dict(), props.state_dict)
    props.statistics.write_text('{"Progress/kimg": {"num": 1, "mean": 1.0, "std": 0.0}}\n')
    np.savez(props.spectrum, spectrum=np.ones([16, 16]), image_size=8)

    def save(trainer: Trainer, stop_request: object = None) -> None:
        """In place of training: what the run leaves behind when it has seen its images."""
        trainer.cur_nimg = 1000
        trainer.snapshots.save_networks(props.network)
        trainer._save_state(must_succeed=True)
        (state,) = trainer.run_dir.glob("training-state-*.pt")
        state.replace(props.state)
        ws = torch.zeros([1, trainer.G_ema.num_ws, trainer.G_ema.w_dim])
        np.savez(props.styles, w=ws.numpy())
        trainer.close()

    args = [f"--data={props.dataset}", f"--outdir={folder / 'runs'}", *TRAINING]
    with mock.patch.object(Trainer, "train", save):
        result = CliRunner().invoke(train.main, args)
    assert result.exit_code == 0, result.output


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
def main(folder: Path) -> None:
    """Build them."""
    build(folder)


if __name__ == "__main__":
    main()
