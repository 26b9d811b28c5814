"""The smallest training states that a run could continue from."""

import dataclasses
from typing import Any

import torch

from training import random_state
from training.config import TrainOptions


def small_state(**more: Any) -> dict[str, Any]:
    """A state that `training.state_contents` accepts; `more` adds or replaces parts."""
    options = TrainOptions(cfg="stylegan2", gpus=1, batch=8, gamma=1)
    data = dict(path="x.zip", resolution=8, use_labels=False, xflip=False, max_size=4)
    random = random_state.capture(torch.device("cpu"))
    return {
        "launch_id": None,
        "options": dataclasses.asdict(options),
        "training_set_kwargs": data,
        **dict.fromkeys(("cur_nimg", "batch_idx", "tick", "tick_start_nimg"), 0),
        **dict.fromkeys(("total_sec", "tick_sec"), 0.0),
        "networks": {name: {"weight": torch.zeros(2)} for name in ("G", "D", "G_ema")},
        "optimizers": {name: {"state": {}, "param_groups": []} for name in ("Gmain", "Dmain")},
        "ada": None,
        "stats": {"moments": {"Loss/G": [1.0, 2.0, 3.0]}, "arrived": {}},
        "ranks": [{"random": random, "loss": {"pl_mean": torch.zeros([])}}],
        "sheet_z": torch.zeros(2, 4),
        "stats_jsonl_bytes": 0,
        **more,
    }
