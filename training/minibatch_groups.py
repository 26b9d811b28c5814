"""Groups of samples for the minibatch standard deviation: which options give them, and which not.

The discriminator compares the samples of a pass in groups (`MinibatchStdLayer`), which keeps the
generator from collapsing. Where a pass is no multiple of the group, the groups become smaller, and
with 5, 7 or 11 samples there is nothing left to compare.
"""

WHAT_IS_LOST = "the minibatch standard deviation, which keeps a generator from collapsing,"


def refusal(
    batch: int, gpus: int, batch_gpu: int, wanted: int, is_continued: bool = False
) -> str | None:
    """Why these options cannot be trained with, and which could; `None` if they can.

    Args:
        batch: Total batch size, a multiple of `gpus` times `batch_gpu`.
        gpus: Number of processes.
        batch_gpu: Samples per process and pass.
        wanted: Group size that was asked for.
        is_continued: Whether the run exists, so that its batch and group size are settled.
    """
    if wanted == 1 or _group_size(batch_gpu, wanted) > 1:
        return None
    ways = [_way_out(batch, gpus, batch_gpu, wanted, is_continued)]
    if not is_continued:
        divisor = next(size for size in range(wanted, batch_gpu + 1) if batch_gpu % size == 0)
        ways.append(f"--mbstd-group={divisor}")
    return (
        f"{batch_gpu} samples per process and pass (--batch / --gpus, or --batch-gpu) do not fall "
        f"into groups of --mbstd-group={wanted} or fewer: {WHAT_IS_LOST} would be off; use "
        + ", or ".join(ways)
    )


def notice(batch: int, gpus: int, batch_gpu: int, wanted: int, is_continued: bool) -> str | None:
    """What to tell about groups that are smaller than asked for, or of one; arguments as above."""
    size = _group_size(batch_gpu, wanted)
    if wanted == 1:
        return f"Note: with --mbstd-group=1 {WHAT_IS_LOST} is off."
    if size == wanted:
        return None
    cause = f"{batch_gpu} samples per process and pass are no multiple of --mbstd-group={wanted}"
    way_out = _way_out(batch, gpus, batch_gpu, wanted, is_continued)
    if size == 1:
        return f"Note: {WHAT_IS_LOST} is off, because {cause}; {way_out} switches it on."
    return (
        f"Note: the minibatch standard deviation is that of groups of {size}, because {cause}; "
        f"instead, use {way_out}."
    )


def smaller_batch_gpu(per_process: int, batch_gpu: int, wanted: int) -> int | None:
    """The next smaller number of samples per pass, with groups as large as can be had.

    Args:
        per_process: Samples per process, in one pass or several.
        batch_gpu: Samples per process and pass.
        wanted: Group size that was asked for.

    Returns:
        `None` if there is none with groups of at least two, unless groups of one were asked for.
    """
    choice = [n for n in _choice(per_process, wanted) if n < batch_gpu]
    return max(choice, key=lambda n: (_group_size(n, wanted), n), default=None)


def _way_out(batch: int, gpus: int, batch_gpu: int, wanted: int, is_continued: bool) -> str:
    """The option that gives the largest groups, and is nearest to what was asked for."""
    size = _group_size(batch_gpu, wanted)
    choice = _choice(batch // gpus, wanted)
    largest = max((_group_size(n, wanted) for n in choice), default=1)
    if largest > size:
        choice = [n for n in choice if _group_size(n, wanted) == largest]
        groups = "" if largest == wanted else f" (groups of {largest})"
        return f"--batch-gpu={_nearest(choice, batch_gpu)}{groups}"
    if not is_continued:
        unit = gpus * wanted
        new_batch = unit * max(1, round(batch / unit))
        if batch_gpu == batch // gpus:
            return f"--batch={new_batch}"
        choice = [n for n in _choice(new_batch // gpus, wanted) if n % wanted == 0]
        return f"--batch={new_batch} --batch-gpu={_nearest(choice, batch_gpu)}"
    sizes = {n: _group_size(batch // n, wanted) for n in range(1, gpus) if batch % n == 0}
    largest = max(sizes.values(), default=1)
    if largest > size:
        return f"--gpus={_nearest([n for n in sizes if sizes[n] == largest], gpus)}"
    return "another run with another --batch"


def _choice(per_process: int, wanted: int) -> list[int]:
    """All numbers of samples per pass that can be trained with."""
    sizes = [n for n in range(wanted, per_process + 1) if per_process % n == 0]
    return [n for n in sizes if wanted == 1 or _group_size(n, wanted) > 1]


def _nearest(numbers: list[int], to: int) -> int:
    return min(numbers, key=lambda n: (abs(n - to), n))


def _group_size(num_samples: int, wanted: int) -> int:
    """The rule of the networks. Their module takes seconds to import: not for who needs no rule."""
    from training.networks_stylegan2 import minibatch_group_size

    return minibatch_group_size(num_samples, wanted)
