"""Formats of numbers: taken apart, shown and read back."""

import pytest

from web_utils.number_form import parse_form


@pytest.mark.parametrize(
    "form, parts, shown",
    [
        ("%d", ("", "", 0), "2"),
        ("%.2f", ("", "", 2), "2.50"),
        ("%.1f dB", ("", " dB", 1), "2.5 dB"),
        ("radius %.2f", ("radius ", "", 2), "radius 2.50"),
        ("%.2f°/s", ("", "°/s", 2), "2.50°/s"),
        ("%d  50%% cat.png", ("", "  50% cat.png", 0), "2  50% cat.png"),
        ("all", ("all", "", None), "all"),
        ("100%%", ("100%", "", None), "100%"),
        ("%g", ("", "", None), "2.5"),
        ("%%%d%%", ("%", "%", 0), "%2%"),
        ("%+.1e", ("", "", None), "+2.5e+00"),
    ],
)
def test_formats_are_taken_apart_and_shown(form, parts, shown):
    parsed = parse_form(form)
    assert (parsed.prefix, parsed.suffix, parsed.decimals) == parts
    assert parsed.show(2.5) == shown


@pytest.mark.parametrize("form", ["%d %d", "%s", "50% of", "%"])
def test_other_formats_are_refused(form):
    with pytest.raises(ValueError, match="no format"):
        parse_form(form)


@pytest.mark.parametrize(
    "form, text, value",
    [
        ("%.1f dB", "2.5 dB", 2.5),
        ("%.1f dB", " -3", -3),
        ("%.1f dB", "2,5", 2.5),
        ("%.1f dB", "\N{MINUS SIGN}1e2dB", -100),
        ("radius %.2f", "radius 0.5", 0.5),
        ("radius %.2f", ".5", 0.5),
        ("all", "4", 4),
        ("all", "all", None),
        ("%d", "", None),
        ("%d", "x4", None),
        ("%d", "nan", None),
        ("%d", "1e999", float("inf")),
    ],
)
def test_typed_numbers_are_read_with_or_without_the_text_around(form, text, value):
    assert parse_form(form).read(text) == value
