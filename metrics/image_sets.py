"""Images of any origin that metrics evaluate in place of a generator's (`--images`)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dnnlib.errors import InputError
from metrics import metric_main
from metrics.class_subsets import ClassSubset
from metrics.dataset_checks import DATASET_CLASS, CheckedDataset, open_checked


@dataclass(frozen=True)
class ImageSet:
    """The images in a folder or ZIP that the metrics use.

    Attributes:
        checked: The folder or ZIP.
        found: Number of images in it, or of images of the class.
        num: Number of images that the metrics use.
        subset: Their class; `None` for all images.
    """

    checked: CheckedDataset
    found: int
    num: int
    subset: ClassSubset | None

    @property
    def path(self) -> str:
        """The folder or ZIP."""
        return self.checked.path

    def options(self, seed: int) -> dict[str, Any]:
        """Keyword arguments of `MetricOptions`; the seed chooses among too many images."""
        kwargs: dict[str, Any] = dict(class_name=DATASET_CLASS, path=self.path)
        if self.subset is not None:
            kwargs |= dict(use_labels=True, class_idx=self.subset.idx)
        if self.num < self.found:
            kwargs |= dict(max_size=self.num, random_seed=seed)
        return dict(images_kwargs=kwargs, images_fingerprint=self.checked.fingerprint, num=self.num)

    def note(self) -> str | None:
        """What is to say about the number of images; `None` if it is the usual number."""
        usual = metric_main.NUM_SAMPLES
        where = self.path if self.subset is None else f"class {self.subset} of {self.path}"
        if self.num < self.found:
            return f"Note: {self.num} of {self.found} images in {where} are used, chosen by --seed."
        if self.num < usual:
            return (
                f"Note: {where} has {self.found} images, and all are used. Published values are of "
                f"{usual}; fewer images change a value (FID grows)."
            )
        return None


def check_metrics(metrics: Iterable[str]) -> None:
    """Refuse metrics that images alone are not enough for.

    Raises:
        ValueError: The message lists the metrics that work.
    """
    refused = [name for name in metrics if metric_main.get_metric(name).needs_generator]
    if refused:
        names = metric_main.list_valid_metrics()
        work = [name for name in names if not metric_main.get_metric(name).needs_generator]
        raise InputError(
            f"--metrics: --images has no generator for {', '.join(refused)}; without one work "
            f"{', '.join(work)}"
        )


def open_images(path: str, real: CheckedDataset | None, use_labels: bool) -> CheckedDataset:
    """Open and check a folder or ZIP.

    Args:
        path: The folder or ZIP.
        real: The real images, if the metrics need them.
        use_labels: Whether to read the labels.

    Raises:
        ValueError: If the images do not fit together, or are of another size or other colours than
            the real images. The message names `--images`.
    """
    checked = open_checked("--images", path, use_labels=use_labels)
    if real is not None:
        _check_alike(checked, real)
    return checked


def choose_images(checked: CheckedDataset, num: int | None, subset: ClassSubset | None) -> ImageSet:
    """The images to use.

    Args:
        checked: The folder or ZIP.
        num: Number of images; `None` for all, at most as many as a network would generate.
        subset: Use the images of this class only; the first of its sizes is theirs.

    Raises:
        ValueError: If there are fewer images. The message names `--num`.
    """
    found = len(checked.dataset) if subset is None else subset.sizes[0]
    if num is not None and num > found:
        of_class = "" if subset is None else f" of class {subset}"
        raise InputError(
            f"--num={num}: {checked.path} has {found} images{of_class}; leave out --num, or choose "
            "a smaller one"
        )
    return ImageSet(checked, found, min(num or metric_main.NUM_SAMPLES, found), subset)


def notes(image_sets: Sequence[ImageSet], real: CheckedDataset | None) -> list[str]:
    """What is to say about numbers of images and about what the metrics leave out."""
    checked = {image_set.path: image_set.checked for image_set in image_sets}
    found: list[str] = []
    if len(checked) == len(image_sets):  # with --per-class, the table shows the numbers
        found += filter(None, (image_set.note() for image_set in image_sets))
    if len({image_set.num for image_set in image_sets}) > 1:
        num = min(image_set.num for image_set in image_sets)
        found.append(
            "Note: the numbers of images differ, and so their values cannot be compared; "
            f"--num={num} makes the numbers equal."
        )
    if real is not None:
        checked[real.path] = real
    found += [
        f"Note: {path} has an alpha channel, which the metrics leave out."
        for path, one in checked.items()
        if one.dataset.num_channels == 4
    ]
    return found


def _check_alike(checked: CheckedDataset, real: CheckedDataset) -> None:
    """Refuse images of another size or other colours than the real images.

    Feature networks resize all images. Images of different sizes would be resized differently,
    and the metrics would measure this difference, too.
    """
    size, real_size = checked.dataset.resolution, real.dataset.resolution
    if size != real_size:
        raise InputError(
            f"--images: {checked.path} has images of {size}x{size}, and --data={real.path} of "
            f"{real_size}x{real_size}; dataset_tool.py --resolution={real_size}x{real_size} makes "
            "them equal"
        )
    is_gray, is_real_gray = (one.dataset.num_channels == 1 for one in (checked, real))
    if is_gray != is_real_gray:
        kind, real_kind = ("colour", "grey") if is_real_gray else ("grey", "colour")
        raise InputError(
            f"--images: {checked.path} has {kind} images, and --data={real.path} has {real_kind} "
            "ones; convert one of the two"
        )
