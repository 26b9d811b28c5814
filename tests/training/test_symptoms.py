"""Histories of runs, and the warnings that they deserve."""

from dataclasses import replace

import pytest

from training import symptoms
from training.symptoms import Observation

SURE = dict(real_score=5.0, fake_score=-5.0, real_sign=0.98, fake_sign=-0.97)


def history(num: int = 20, **fields) -> list[Observation]:
    """Ticks of 10 kimg; fields are numbers, or functions of the share of the ticks that passed."""
    return [
        Observation(
            kimg=10.0 * (i + 1),
            **{k: v(i / (num - 1)) if callable(v) else v for k, v in fields.items()},
        )
        for i in range(num)
    ]


def names(ticks, total_kimg=200, is_adaptive=True):
    return [finding.name for finding in symptoms.in_history(ticks, total_kimg, is_adaptive)]


def timed(*seconds_per_kimg: float, phases_ms=None):
    """Ticks of 10 kimg with these speeds."""
    return [
        Observation(
            kimg=10.0 * i,
            tick_sec=10 * sec,
            sec_per_kimg=sec,
            phases_ms=None if phases_ms is None else phases_ms[i],
        )
        for i, sec in enumerate(seconds_per_kimg)
    ]


CASES = {
    "nothing known": (history(), []),
    "a first tick": (history(1, augment_p=0.0, diversity=0.1, **SURE), []),
    "strong augmentation": (history(augment_p=0.81), ["high_augmentation"]),
    "augmentation at the limit": (history(augment_p=0.8), []),
    "augmentation that rises late": (history(augment_p=lambda t: 0.7 * t), ["rising_augmentation"]),
    "augmentation that has settled": (history(augment_p=lambda t: min(t, 0.5)), []),
    "augmentation that falls": (history(augment_p=lambda t: 0.7 - t / 2), []),
    "augmentation that rises slowly": (history(augment_p=lambda t: 0.2 + 0.3 * t), []),
    "both": (history(augment_p=lambda t: t), ["high_augmentation"]),
    "alike": (history(diversity=lambda t: 1.1 - t), ["diversity"]),
    "alike within classes": (
        history(diversity=0.9, label_diversity=lambda t: 1.1 - t),
        ["label_diversity"],
    ),
    "alike, measured in every third tick": (
        [
            replace(tick, diversity=None) if i % 3 else tick
            for i, tick in enumerate(history(40, diversity=lambda t: 1.1 - t))
        ],
        ["diversity"],
    ),
    "diverse": (history(diversity=0.8), []),
    "half as diverse": (history(diversity=lambda t: 1.0 - 0.6 * t), ["diversity"]),
    "less diverse": (history(diversity=lambda t: 1.0 - 0.4 * t), []),
    "never diverse": (history(diversity=0.2), ["diversity"]),
    "noise before anything is learnt": (history(diversity=lambda t: 0.6 if t else 5.0), []),
    "alike before anything is learnt": (history(2, diversity=0.0), []),
    "alike in one tick only": (history(diversity=lambda t: 0.1 if t == 1 else 0.9), []),
    "a sure discriminator": (history(**SURE), ["scores"]),
    "a sure discriminator of four ticks": (
        history(**{k: lambda t, v=v: v if t > 0.8 else 0.0 for k, v in SURE.items()}),
        [],
    ),
    "scores far apart by a few images": (history(**{**SURE, "fake_sign": -0.7}), []),
    "scores close together": (history(**{**SURE, "real_score": 2.0}), []),
    "slow": (timed(*[10] * 8, *[16] * 3), ["speed"]),
    "slower by a quarter": (timed(*[10] * 8, *[14] * 3), []),
    "one slow tick": (timed(*[10] * 9, 40), []),
    "slow for less than a minute": (timed(*[1] * 8, *[1.9] * 3), []),
    "slow from the start": (timed(*[40] * 3, *[60] * 3), []),
}


@pytest.mark.parametrize("key", CASES)
def test_histories_lead_to_warnings(key):
    ticks, expected = CASES[key]
    assert names(ticks) == expected


def test_names_of_findings_are_those_that_are_taken_back():
    assert {name for _, expected in CASES.values() for name in expected} == {*symptoms.IN_HISTORY}


def test_fixed_augmentation_is_the_users_choice():
    assert names(history(augment_p=1.0), is_adaptive=False) == []


def test_early_rise_of_the_augmentation_is_normal():
    assert names(history(augment_p=lambda t: 0.7 * t), total_kimg=1000) == []


def test_texts_say_what_happened_and_what_to_try():
    ticks = history(augment_p=lambda t: 0.7 * t, diversity=lambda t: 1.1 - t, **SURE)
    texts = [finding.text for finding in symptoms.in_history(ticks, 200, True)]
    assert "from 0.52 at 150 kimg to 0.70 at 200 kimg" in texts[0]
    assert "their diversity is 0.15 of that of real images, after 0.94 (at 50 kimg)" in texts[1]
    assert "the mean scores are 5.0 and -5.0" in texts[2]
    assert all(" Try " in text and "\n" not in text for text in texts)


@pytest.mark.parametrize(
    ("phases_ms", "cause"),
    [
        ([5] * 11, "waits for images"),
        ([5] * 8 + [8] * 3, "other programs on the GPU"),
        (None, "other programs on the GPU"),
    ],
)
def test_cause_of_slow_training_follows_from_the_phases(phases_ms, cause):
    (finding,) = symptoms.in_history(
        timed(*[10] * 8, *[20] * 3, phases_ms=phases_ms), 200, is_adaptive=False
    )
    assert cause in finding.text
    assert "20 seconds per thousand images in the last 3 ticks, 10 before" in finding.text
    assert finding.severity == 2


METRICS = {
    "worse three times": ([9, 8, 7, 7.2, 7.3, 8], True),
    "worse twice": ([9, 8, 7, 7.2, 8], False),
    "worse, but hardly": ([7, 7.01, 7.02, 7.03], False),
    "better in between": ([7, 8, 9, 8.9, 10], False),
    "better": ([9, 8, 7, 6], False),
    "too few": ([7, 9, 10], False),
    "none": ([], False),
}


@pytest.mark.parametrize("key", METRICS)
@pytest.mark.parametrize("higher_is_better", [False, True])
def test_metrics_that_get_worse(key, higher_is_better):
    values, is_found = METRICS[key]
    by_kimg = {10 * i: 10 - x if higher_is_better else x for i, x in enumerate(values)}
    found = symptoms.worse_metrics({"x": by_kimg}, lambda _: higher_is_better, lambda _: True)
    assert [finding.name for finding in found] == ["metric_x"] * is_found
    if is_found:
        was, now = (3, 2) if higher_is_better else (7, 8)
        assert f"was {was} at 20 kimg, and is {now} at 50 kimg" in found[0].text
        assert "Take network-snapshot-000020.pkl, the best so far." in found[0].text


@pytest.mark.parametrize(
    ("there", "advice"),
    [
        ({0, 10, 30, 50}, "Take network-snapshot-000030.pkl, the best of those that still exist."),
        (set(), "is 8 at 50 kimg. If this goes on, stop"),
    ],
)
def test_snapshots_that_are_gone_are_not_recommended(there, advice):
    by_kimg = dict(zip(range(0, 60, 10), [9, 8, 7, 7.2, 7.3, 8], strict=True))
    (found,) = symptoms.worse_metrics({"x": by_kimg}, lambda _: False, there.__contains__)
    assert "was 7 at 20 kimg" in found.text and advice in found.text


def test_small_disk_is_noticed_before_it_is_full():
    args = dict(
        state_bytes=8 * 10**8, pickle_bytes=3 * 10**8, sheet_bytes=10**7, num_states=2, num_sheets=0
    )
    assert symptoms.small_disk(free_bytes=10**11, num_pickles=100, **args) is None
    finding = symptoms.small_disk(free_bytes=10**10, num_pickles=100, **args)
    assert "has 10 GB left, and the files to come need 31.6 GB" in finding.text
    assert "100 network pickles of 0.3 GB" in finding.text
    assert "full after 28% of the pickles and sheets" in finding.text
    fuller = symptoms.small_disk(free_bytes=10**9, num_pickles=90, **args)
    assert "full after 0% of" in fuller.text and fuller.severity > 9 * finding.severity


def test_disk_that_is_too_small_for_sheets_alone_has_a_severity():
    finding = symptoms.small_disk(
        free_bytes=10**8,
        state_bytes=10**8,
        pickle_bytes=10**9,
        sheet_bytes=10**6,
        num_states=0,
        num_pickles=0,
        num_sheets=200,
    )
    assert "0 network pickles of 1 GB, 200 sheets of 0.001 GB" in finding.text
    assert "full after 50% of" in finding.text and finding.severity == 2
