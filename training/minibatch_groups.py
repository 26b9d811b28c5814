"""Find options that allow groups of samples for the minibatch standard deviation.

The discriminator compares the samples of a pass in groups (`MinibatchStdLayer`), which keeps the
generator from collapsing. If the number of samples is no multiple of the group size, the groups
become smaller; with 5, 7 or 11 samples they shrink to single samples, which cannot be compared.
"""

WHAT_IS_LOST = "the minibatch standard deviation, which keeps a generator from collapsing,"


def refusal(
    batch: int, gpus: int, batch_gpu: int, wanted: int, is_continued: bool = False
) -> str | None:
    """Explain why a run cannot use these options, and name others; `None` if it can use them.

    Args:
        batch: Total batch size, a multiple of `gpus` times `batch_gpu`.
        gpus: Number of processes.
        batch_gpu: Samples per process and pass.
        wanted: The requested group size.
        is_continued: Whether the run exists already, so that its batch and group size are fixed.
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
    """A note on groups that are smaller than requested; arguments as for `refusal`."""
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
        f"Note: the minibatch standard deviation is computed in groups of {size}, because {cause}; "
        f"instead, use {way_out}."
    )


def pass_sizes(per_process: int, wanted: int) -> list[int]:
    """Numbers of samples per pass to choose from, the largest first, with the largest groups.

    Args:
        per_process: Samples per process, in one pass or several.
        wanted: The requested group size.

    Returns:
        An empty list if every number has groups below the minimum, see `smaller_batch_gpu`.
    """
    sizes = [per_process + 1]
    while (smaller := smaller_batch_gpu(per_process, sizes[-1], wanted)) is not None:
        sizes.append(smaller)
    return sizes[1:]


def smaller_batch_gpu(per_process: int, batch_gpu: int, wanted: int) -> int | None:
    """The next smaller number of samples per pass, with the largest possible groups.

    Args:
        per_process: Samples per process, in one pass or several.
        batch_gpu: Samples per process and pass.
        wanted: The requested group size.

    Returns:
        `None` if every smaller number has groups below the minimum: two, or one if `wanted` is one.
    """
    choice = [n for n in _choice(per_process, wanted) if n < batch_gpu]
    return max(choice, key=lambda n: (_group_size(n, wanted), n), default=None)


def _way_out(batch: int, gpus: int, batch_gpu: int, wanted: int, is_continued: bool) -> str:
    """The option with the largest groups; among several, the one closest to the given option."""
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
    """All numbers of samples per pass that a run can use."""
    sizes = [n for n in range(wanted, per_process + 1) if per_process % n == 0]
    return [n for n in sizes if wanted == 1 or _group_size(n, wanted) > 1]


def _nearest(numbers: list[int], to: int) -> int:
    return min(numbers, key=lambda n: (abs(n - to), n))


def _group_size(num_samples: int, wanted: int) -> int:
    """Size of the groups that the discriminator forms."""
    from training.networks_stylegan2 import minibatch_group_size  # imports torch: takes seconds

    return minibatch_group_size(num_samples, wanted)
