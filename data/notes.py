"""Describe in words how decoding changed images, and which files were left out."""

from collections import Counter

from data.decoding import FURTHER

MAX_KINDS = 12  # in a list


def describe(notes: Counter[str], left_out: str | None) -> dict[str, str]:
    """Up to two texts, by their titles.

    Args:
        notes: Number of images by what was changed in them; see `decoding.decode`.
        left_out: Unused files; see `listing.describe_left_out`.
    """
    lines = {}
    changes = [(what, num) for what, num in notes.most_common() if what != FURTHER]
    texts = [f"{num} {what}" for what, num in changes[:MAX_KINDS]]
    if rest := sum(num for _, num in changes[MAX_KINDS:]):  # names of profiles can all differ
        texts.append(f"{rest} changed or warned of in other ways")
    if texts:
        lines["Noted"] = "; ".join(texts)
    if num := notes[FURTHER]:
        further = f"{num} {FURTHER} of the same files"
        left_out = further if left_out is None else f"{left_out}, {further}"
    if left_out is not None:
        lines["Left out"] = left_out
    return lines
