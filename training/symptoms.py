"""Signs of trouble in the history of a run, and what to try: pure functions of numbers.

Thresholds are cautious: a warning that comes too often is not read.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

RECENT_TICKS = 3  # whose median counts as the present
LONG_TICKS = 5  # that must all show a sign

HIGH_P = 0.8  # from here on, augmentations leak (Karras et al. 2020, "Limited Data", Sec. 2.2)
RISING_P, RISING_WINDOW = 0.1, 0.25  # rise of p over the last part of the images
# The first images, in which untrained networks do what they like: thousands, share of the run.
WARM_UP_KIMG, WARM_UP_SHARE = 100, 0.1
# Of the diversity of real images. Healthy networks of drawn shapes have 0.85 to 1.05, those whose
# images are all alike to the eye 0.13 to 0.5.
LOW_DIVERSITY = 0.3
FALLEN_DIVERSITY = 0.5  # of the highest diversity so far, but at most that of real images
# A sigmoid is within 2 % of its end at 4, on either side: gradients of D's loss are nearly gone.
WIDE_GAP = 8.0
SURE_SIGN = 0.9  # mean sign if D is right about 95 %
SLOWER = 1.5  # times as long: a third less speed
SLOW_SEC, EARLIER_TICKS = 60.0, 5
NUM_WORSE = 3  # evaluations in a row
WORSE = 1.05  # times the best value


@dataclass(frozen=True)
class Observation:
    """What is known at the end of a tick; `None` is unknown.

    Attributes:
        kimg: Thousands of images that the run has seen.
        augment_p: Strength of the augmentation.
        real_score: Mean logit of D for real images of this tick; `fake_score` for generated ones.
        real_sign: Mean sign of these logits; `fake_sign` likewise.
        diversity: See `training.diversity`; unknown in ticks without a measurement.
        label_diversity: The same within labels.
        tick_sec: Duration of the tick. Durations of earlier sessions are unknown: these may have
            had another machine.
        sec_per_kimg: The same for a thousand images.
        phases_ms: Time that one execution of each phase takes, together.
    """

    kimg: float
    augment_p: float | None = None
    real_score: float | None = None
    fake_score: float | None = None
    real_sign: float | None = None
    fake_sign: float | None = None
    diversity: float | None = None
    label_diversity: float | None = None
    tick_sec: float | None = None
    sec_per_kimg: float | None = None
    phases_ms: float | None = None


DURATIONS = ("tick_sec", "sec_per_kimg", "phases_ms")
History = Sequence[Observation]
IN_HISTORY = (
    "high_augmentation",
    "rising_augmentation",
    "diversity",
    "label_diversity",
    "scores",
    "speed",
)  # names of what `in_history` can find
OF_MACHINE = ("speed", "disk")  # do not follow from the training alone


@dataclass(frozen=True)
class Finding:
    """A warning.

    Attributes:
        name: Of the statistic `Warning/<name>`.
        text: What is wrong, and what to try; one line.
        severity: Above zero; compared with the severity of an earlier warning of this name.
    """

    name: str
    text: str
    severity: float


def in_history(history: History, total_kimg: float, is_adaptive: bool) -> list[Finding]:
    """The signs of trouble at the end of the last tick.

    Args:
        history: All ticks so far, or an even selection of the older ones.
        total_kimg: Thousands of images of the whole run.
        is_adaptive: Whether the strength of the augmentation adapts.
    """
    warm_up_kimg = min(WARM_UP_KIMG, WARM_UP_SHARE * total_kimg)
    trained = [tick for tick in history if tick.kimg > warm_up_kimg]
    found = [
        *([high_augmentation(history), rising_augmentation(history, total_kimg)] * is_adaptive),
        low_diversity(trained),
        low_label_diversity(trained),
        far_scores(trained),
        slow_training(history),
    ]
    return [finding for finding in found if finding is not None]


def high_augmentation(history: History) -> Finding | None:
    """Augmentation so strong that it shows in generated images."""
    p = history[-1].augment_p
    if p is None or p <= HIGH_P:
        return None
    return Finding(
        "high_augmentation",
        f"the augmentation has reached strength {p:.2f}. Above {HIGH_P:g} its changes can leak "
        "into generated images, and the discriminator overfits nevertheless. Try more images, a "
        f"start from a trained network (--resume=PICKLE), a limit (--aug-max={HIGH_P:g}), or a "
        "higher --target.",
        p,
    )


def rising_augmentation(history: History, total_kimg: float) -> Finding | None:
    """Augmentation that has not settled in the second half of a run."""
    kimg = history[-1].kimg
    window = [tick for tick in history if tick.kimg >= (1 - RISING_WINDOW) * kimg]
    first, last = window[0].augment_p, window[-1].augment_p
    if first is None or last is None or kimg < total_kimg / 2 or len(window) < LONG_TICKS:
        return None
    if last - first < RISING_P or last > HIGH_P:  # above, the other warning says so
        return None
    return Finding(
        "rising_augmentation",
        f"the augmentation still becomes stronger, from {first:.2f} at {window[0].kimg:.0f} kimg "
        f"to {last:.2f} at {kimg:.0f} kimg: the discriminator overfits more and more. Try more "
        "images, a start from a trained network (--resume=PICKLE), a limit "
        f"(--aug-max={HIGH_P:g}), or a higher --target.",
        last,
    )


def low_diversity(history: History) -> Finding | None:
    """Generated images that have become alike."""
    return _low_diversity(
        "diversity",
        "generated images are alike",
        "Try a larger --gamma (three times), half the --glr and --dlr, or more images",
        _known(history, "diversity"),
    )


def low_label_diversity(history: History) -> Finding | None:
    """Generated images of a class that have become alike."""
    return _low_diversity(
        "label_diversity",
        "generated images of the same class are alike",
        "Networks with classes collapse more easily: try a start from a network that was trained "
        "without --cond (--resume=PICKLE), or a larger --gamma (three times)",
        _known(history, "label_diversity"),
    )


def far_scores(history: History) -> Finding | None:
    """A discriminator that has been certain for long, and so learns and teaches nothing new."""
    recent = history[-LONG_TICKS:]
    gaps = [_gap_if_sure(tick) for tick in recent]
    known = [gap for gap in gaps if gap is not None]
    if len(known) < LONG_TICKS:
        return None
    real, fake = recent[-1].real_score, recent[-1].fake_score
    return Finding(
        "scores",
        f"the discriminator has told real images from generated ones with certainty for "
        f"{LONG_TICKS} ticks: the mean scores are {real:.1f} and {fake:.1f}, and from a difference "
        f"of {WIDE_GAP:g} on its loss has hardly any gradients left. It overfits, or has become "
        "too strong for the generator. Try a larger --gamma (three times), a lower --dlr, "
        "--aug=ada, or more images.",
        median(known),
    )


def slow_training(history: History) -> Finding | None:
    """Training that has lost a third of its own earlier speed, for at least a minute."""
    timed = [tick for tick in history if tick.sec_per_kimg is not None]
    earlier, recent = timed[:-RECENT_TICKS], timed[-RECENT_TICKS:]
    if len(earlier) < EARLIER_TICKS or sum(tick.tick_sec or 0 for tick in recent) < SLOW_SEC:
        return None
    before, now = (median(_known(ticks, "sec_per_kimg").values()) for ticks in (earlier, recent))
    if now < SLOWER * before:
        return None
    phases = [_known(ticks, "phases_ms").values() for ticks in (earlier, recent)]
    if all(phases) and median(phases[1]) < median(phases[0]) * (1 + SLOWER) / 2:
        cause = (
            "The steps themselves take as long as before, so training waits for images: look at "
            "the disk and at other programs; try more --workers, or --cache=ram."
        )
    else:
        cause = (
            "The steps themselves take longer: look for other programs on the GPU or the CPU, for "
            "memory that is swapped to disk, and for a clock lowered by heat (nvidia-smi -q -d "
            "PERFORMANCE)."
        )
    return Finding(
        "speed",
        f"training has become slower: {now:.4g} seconds per thousand images in the last "
        f"{len(recent)} ticks, {before:.4g} before. {cause}",
        now / before,
    )


def worse_metrics(
    values: Mapping[str, Mapping[int, float]],
    higher_is_better: Callable[[str], bool],
    is_there: Callable[[int], bool],
) -> list[Finding]:
    """Metrics that have become worse in several evaluations in a row.

    Args:
        values: For each value of a metric, thousands of images -> value, in ascending order.
        higher_is_better: Tells this for the name of a value.
        is_there: Whether the snapshot after so many thousand images still exists.
    """
    found = []
    for name, by_kimg in values.items():
        sign = -1 if higher_is_better(name) else 1
        costs = {kimg: sign * value for kimg, value in by_kimg.items()}
        last = list(costs.values())[-NUM_WORSE - 1 :]
        if len(last) <= NUM_WORSE or any(b <= a for a, b in pairwise(last)):
            continue
        best = min(costs, key=lambda kimg: costs[kimg])
        loss = (last[-1] - costs[best]) / max(abs(costs[best]), 1e-9)
        if loss < WORSE - 1:
            continue  # metrics of the same network with other seeds differ as well
        now = list(by_kimg)[-1]
        there = [kimg for kimg in costs if is_there(kimg)]
        take = ""
        if there:
            best_there = min(there, key=lambda kimg: costs[kimg])
            which = "so far" if best_there == best else "of those that still exist"
            take = f"Take network-snapshot-{best_there:06d}.pkl, the best {which}. "
        found.append(
            Finding(
                f"metric_{name}",
                f"{name} has become worse in {NUM_WORSE} evaluations in a row: it was "
                f"{by_kimg[best]:.4g} at {best} kimg, and is {by_kimg[now]:.4g} at {now} kimg. "
                f"{take}If this goes on, stop the run, and try more images, --aug=ada, a larger "
                "--gamma (three times), or lower --glr and --dlr.",
                1 + loss,
            )
        )
    return found


def small_disk(
    free_bytes: int,
    state_bytes: int,
    pickle_bytes: int,
    sheet_bytes: int,
    num_states: int,
    num_pickles: int,
    num_sheets: int,
) -> Finding | None:
    """A disk without room for the files that the run will write.

    Args:
        free_bytes: Room on the disk.
        state_bytes: Size of a training state.
        pickle_bytes: Size of a network pickle.
        sheet_bytes: Size of a sheet of images.
        num_states: States for which there must be room at once, beside those that exist.
        num_pickles: Network pickles for which there must be room at once, likewise.
        num_sheets: Sheets to come, all of which stay.
    """
    states_bytes = num_states * state_bytes
    snapshots_bytes = num_pickles * pickle_bytes + num_sheets * sheet_bytes
    needed = states_bytes + snapshots_bytes
    if needed <= free_bytes:
        return None
    fitting = max(free_bytes - states_bytes, 0) / max(snapshots_bytes, 1)
    gb = 1e9
    return Finding(
        "disk",
        f"the disk of the run has {free_bytes / gb:.3g} GB left, and the files to come need "
        f"{needed / gb:.3g} GB: {num_pickles} network pickles of {pickle_bytes / gb:.3g} GB, "
        f"{num_sheets} sheets of {sheet_bytes / gb:.3g} GB, and room for states of "
        f"{state_bytes / gb:.3g} GB. It is full after {fitting:.0%} of the pickles and sheets. "
        "Make space, delete snapshots that you do not need, or stop the run and continue it with "
        "--keep-snapshots=10 or a larger --snap.",
        needed / max(free_bytes, 1),
    )


def _low_diversity(
    name: str, what: str, advice: str, values: Mapping[float, float]
) -> Finding | None:
    """A finding on values that are low, or have fallen far; a median leaves out single ones."""
    if len(values) < RECENT_TICKS:
        return None
    kimgs, ratios = list(values), list(values.values())
    medians = [median(ratios[i : i + RECENT_TICKS]) for i in range(len(ratios) - RECENT_TICKS + 1)]
    best = max(range(len(medians)), key=medians.__getitem__)
    now, highest = medians[-1], medians[best]
    has_fallen = now <= FALLEN_DIVERSITY * min(highest, 1.0)
    if now > LOW_DIVERSITY and not has_fallen:
        return None
    before = "and was never above" if not has_fallen else "after"
    return Finding(
        name,
        f"{what}: their diversity is {now:.2f} of that of real images, {before} {highest:.2f} (at "
        f"{kimgs[best + RECENT_TICKS - 1]:.0f} kimg). Compare fakes*.png. {advice}; continue from "
        "a state or a snapshot from before (--resume).",
        1 / max(now, 1e-9),
    )


def _gap_if_sure(tick: Observation) -> float | None:
    """Distance of the scores in a tick, if D is nearly always right, and surely so."""
    scores = (tick.real_score, tick.fake_score, tick.real_sign, tick.fake_sign)
    known = [score for score in scores if score is not None]
    if len(known) < len(scores):
        return None
    real, fake, real_sign, fake_sign = known
    is_sure = real - fake > WIDE_GAP and min(real_sign, -fake_sign) > SURE_SIGN
    return real - fake if is_sure else None


def _known(history: History, field: str) -> dict[float, float]:
    """Thousands of images -> value, where a field is known."""
    values = {tick.kimg: getattr(tick, field) for tick in history}
    return {kimg: value for kimg, value in values.items() if value is not None}
