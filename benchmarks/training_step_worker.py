"""Times whole iterations of training in a checkout, for `benchmarks/training_step.py`.

It runs in a process of its own, in the folder of a checkout of this project, whose packages it
imports (`benchmarks.iteration` among them):

    python training_step_worker.py SETTINGS.json

The process prints lines of JSON. The first is {"ready": true, "losses": {name: mean}}, with the
losses of the first iteration. Each line that it reads is a number of runs, and the answer is
{"seconds": [...], "peak_bytes": null}: seconds of processor time of all threads per iteration.
"""

import json
import os
import sys
import time


def main() -> None:
    """Serve the process that started this one, until its end of the pipe is closed."""
    with open(sys.argv[1], encoding="utf-8") as file:
        settings = json.load(file)
    sys.path[0] = os.getcwd()  # rather than the folder of this file

    import torch

    from benchmarks import iteration
    from benchmarks.networks import Setup
    from torch_utils import devices

    torch.set_num_threads(settings["threads"])
    device = torch.device("cpu")
    devices.configure_backends(device)
    setup = Setup(**settings["setup"])
    number = settings["number"]
    with iteration.dataset(setup.resolution) as data:
        options = dict(aug=settings["aug"], precision=setup.precision)
        config = iteration.config_of(setup, data, device, **options)
        with iteration.started(config, device) as run:
            run.run(0, 1)  # all phases are due
            run.stats.update()
            names = [name for name in run.stats.names() if name.startswith("Loss/scores/")]
            answer = {"ready": True, "losses": {name: run.stats.mean(name) for name in names}}
            run.warm_up(number)
            while True:
                print(json.dumps(answer), flush=True)
                line = sys.stdin.readline()
                if not line:
                    return
                seconds = []
                for _ in range(int(line)):
                    start = time.process_time()
                    run.run(iteration.FIRST, number)
                    seconds.append((time.process_time() - start) / number)
                answer = {"seconds": seconds, "peak_bytes": None}


if __name__ == "__main__":
    main()
