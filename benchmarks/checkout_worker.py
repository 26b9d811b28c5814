"""Times iterations of training with any checkout that has the public names of StyleGAN3.

`benchmarks/checkout.py` runs this file in a process of its own, in the folder of a checkout. It
imports nothing else of this project, so the checkout may be ours, the published one, or a fork:

    python checkout_worker.py SETTINGS.json

The settings name the networks, the sizes, and the iterations of a run. The process prints lines of
JSON. The first is {"ready": true}. Each line that it reads is a number of runs, and the answer is
{"seconds": [...], "peak_bytes": ...}: seconds per iteration in each run, and peak memory on GPUs.
"""

import copy
import importlib
import json
import os
import sys
import time


def main() -> None:
    """Serve the process that started this one, until its end of the pipe is closed."""
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    sys.path[0] = os.getcwd()  # rather than the folder of this file
    # What a checkout prints, about its plugins for example, must not mix with the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    iterate, synchronize = prepare(settings)
    for idx in settings["warmup"]:
        iterate(idx)
    synchronize()
    answer: dict = {"ready": True}
    while True:
        print(json.dumps(answer), file=answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        seconds = []
        for _ in range(int(line)):
            start = time.perf_counter()
            for idx in settings["indices"]:
                iterate(idx)
            synchronize()
            seconds.append((time.perf_counter() - start) / len(settings["indices"]))
        answer = {"seconds": seconds, "peak_bytes": peak_bytes(settings["device"])}


def prepare(settings):
    """A function that runs an iteration by its number, and one that waits for the device."""
    import numpy as np
    import torch

    device = torch.device(settings["device"])
    torch.manual_seed(0)
    np.random.seed(0)
    torch.backends.cudnn.benchmark = True
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    # As the published training loop does; elsewhere these modules have no such switch.
    for name in ("conv2d_gradfix", "grid_sample_gradfix"):
        module = importlib.import_module(f"torch_utils.ops.{name}")
        if hasattr(module, "enabled"):
            setattr(module, "enabled", True)  # noqa: B010  mypy knows ours

    G = construct(settings["G"]).train().requires_grad_(False).to(device)
    D = construct(settings["D"]).train().requires_grad_(False).to(device)
    G_ema = copy.deepcopy(G).eval()
    pipe = construct(settings["augment"]).train().requires_grad_(False).to(device)
    pipe.p.copy_(torch.as_tensor(settings["augment_p"]))
    loss = construct(settings["loss"], device=device, G=G, D=D, augment_pipe=pipe)
    optimizers = {name: torch.optim.Adam(net.parameters(), lr=0.002, betas=(0.0, 0.99), eps=1e-8)
                  for name, net in (("G", G), ("D", D))}  # fmt: skip
    batch, size = settings["batch"], settings["resolution"]
    real_img = torch.rand([batch, 3, size, size], device=device) * 2 - 1
    no_labels = torch.zeros([batch, 0], device=device)

    def run_phase(phase, interval):
        net, optimizer = (G, optimizers["G"]) if phase[0] == "G" else (D, optimizers["D"])
        optimizer.zero_grad(set_to_none=True)
        net.requires_grad_(True)
        loss.accumulate_gradients(
            phase=phase,
            real_img=real_img,
            real_c=no_labels,
            gen_z=torch.randn([batch, G.z_dim], device=device),
            gen_c=no_labels,
            gain=interval,
            cur_nimg=settings["cur_nimg"],
        )
        net.requires_grad_(False)
        params = [p for p in net.parameters() if p.grad is not None]
        if params:
            flat = torch.cat([p.grad.flatten() for p in params])
            torch.nan_to_num(flat, nan=0, posinf=1e5, neginf=-1e5, out=flat)
            for p, grad in zip(params, flat.split([p.numel() for p in params]), strict=True):
                p.grad = grad.reshape(p.shape)
            optimizer.step()

    def iterate(idx):
        for phase, interval in settings["phases"].items():
            if idx % interval == 0:
                run_phase(phase, interval)
        with torch.no_grad():
            for average, current in zip(G_ema.parameters(), G.parameters(), strict=True):
                average.copy_(current.lerp(average, 0.999))
            for average, current in zip(G_ema.buffers(), G.buffers(), strict=True):
                average.copy_(current)

    def synchronize():
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return iterate, synchronize


def construct(kwargs, **others):
    """Construct the class that `class_name` names with the other arguments."""
    kwargs = dict(kwargs, **others)
    module, _, name = kwargs.pop("class_name").rpartition(".")
    return getattr(importlib.import_module(module), name)(**kwargs)


def peak_bytes(device_type):
    """Most memory that tensors on a GPU took; `None` elsewhere."""
    import torch

    return torch.cuda.max_memory_allocated() if device_type == "cuda" else None


if __name__ == "__main__":
    main()
