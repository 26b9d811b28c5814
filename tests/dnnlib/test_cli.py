"""Value parsing against the reference, click types, and what a failing command prints."""

import os
import signal
import warnings

import click
import pytest
from click.testing import CliRunner

from dnnlib import cli
from dnnlib.errors import InputError, MachineError
from dnnlib.options import device_option, version_option
from dnnlib.version import __version__
from tests import golden

PARSERS = {
    "gen_images.parse_range": cli.parse_range,
    "gen_images.parse_vec2": cli.parse_vec2,
    "gen_video.parse_tuple": cli.parse_size,
}


def convert(param_type: click.ParamType, text: str):
    return param_type.convert(text, None, None)


@pytest.mark.parametrize("function", PARSERS)
def test_parsers_match_reference(function):
    parse = PARSERS[function]
    for text, expected in golden.load("gen.npz")["parsing"].meta["results"][function].items():
        if expected == "raises ValueError":
            with pytest.raises(ValueError, match=r"like|example"):
                parse(text)
        else:
            got = parse(text)
            assert list(got) == expected, text
            assert type(got) is (list if parse is cli.parse_range else tuple)


def test_parsed_values_pass_through():
    for parse, value in [
        (cli.parse_range, [3]),
        (cli.parse_vec2, (0, 1)),
        (cli.parse_size, (4, 2)),
        (cli.parse_names, ["a"]),
    ]:
        assert parse(value) is value


@pytest.mark.parametrize(
    ("text", "names"),
    [("a,b", ["a", "b"]), (" a , b ", ["a", "b"]), ("none", []), ("None", []), ("", [])],
)
def test_parse_names(text, names):
    assert cli.parse_names(text) == names


@pytest.mark.parametrize(
    ("param_type", "text", "message"),
    [
        (cli.SeedRange(), "1,x,3", "'x' is not a number or a range"),
        (cli.SeedRange(), "1,7-3", "'7-3' runs backwards"),
        (cli.SeedRange(), "-1", "'-1': seeds go from 0"),
        (cli.ClassRange(), "-1", "'-1': classes go from 0"),
        (cli.SeedRange(), "0,4294967296", "seeds go from 0 to 4294967295"),
        (cli.SeedRange(), "0-99999999999999", "seeds go from 0 to 4294967295"),
        (cli.Vec2(), "1", "'1' is not a pair of numbers like 0.3,1"),
        (cli.Vec2(), "nan,1", "not a pair of numbers"),
        (cli.Size(), "4X2", "'4X2' is not a width and a height like 4x2"),
        (cli.Size(), "0x2", "must be at least 1"),
        (cli.NameList(), "a,,b", "empty name"),
        (cli.NameList(["a", "b"]), "a,c", "'c' is unknown; choose from a, b"),
    ],
)
def test_bad_option_values_are_named(param_type, text, message):
    with pytest.raises(click.BadParameter, match=message):
        convert(param_type, text)


def test_option_types_convert_and_accept_converted_values():
    assert convert(cli.SeedRange(), "1, 4-6") == [1, 4, 5, 6]
    assert convert(cli.Vec2(), "0.5,-1") == (0.5, -1.0)
    assert convert(cli.Size(), "4x2") == (4, 2)
    assert convert(cli.NameList(["a"]), "NONE") == []
    for param_type, value in [(cli.SeedRange(), [2]), (cli.Vec2(), (1, 2)), (cli.Size(), (1, 2))]:
        assert param_type.convert(value, None, None) == value


def command_that(action) -> click.Command:
    @click.command(cls=cli.Command)
    @device_option
    @version_option
    def main(device):
        action()

    return main


def test_warnings_are_printable():
    def action():
        warnings.warn("a\x1b[2J\rb", stacklevel=1)

    result = CliRunner().invoke(command_that(action), [])
    assert result.stderr == "Warning: a\\x1b[2J\\rb\n"


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("--x 3 is too big"), "Error: --x 3 is too big\n"),
        (MachineError("install this"), "Error: install this\n"),
        (FileNotFoundError(2, "No such file", "a.pkl"), "Error: No such file: a.pkl\n"),
        (OSError("disk on fire"), "Error: disk on fire\n"),
        (MemoryError("1 TB"), "Error: out of memory; a smaller batch may help. 1 TB\n"),
        # Nobody's file writes to the terminal what it likes.
        (InputError("a\x1b[2J\u202e.png"), "Error: a\\x1b[2J\\u202e.png\n"),
        (OSError("a\x07\x9b.png"), "Error: a\\x07\\x9b.png\n"),
        (
            FileNotFoundError(2, "No such file", "a\x1b\n\udce9"),
            "Error: No such file: a\\x1b\\n\\udce9\n",
        ),
        (click.ClickException("a\x1b[2J"), "Error: a\\x1b[2J\n"),
    ],
)
def test_expected_errors_print_one_line(error, line):
    result = CliRunner().invoke(command_that(raising(error)), [])
    assert (result.exit_code, result.stderr) == (1, line)


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda: int("x"), id="ValueError"),
        pytest.param(raising(RuntimeError("broken")), id="RuntimeError"),
        pytest.param(lambda: {}["x"], id="KeyError"),
        pytest.param(raising(NotImplementedError("later")), id="NotImplementedError"),
        pytest.param(raising(AssertionError("broken")), id="AssertionError"),
    ],
)
def test_programming_errors_keep_their_traceback(action):
    result = CliRunner().invoke(command_that(action), [])
    assert result.exception is not None
    assert not isinstance(result.exception, SystemExit)


def test_exit_codes_of_commands_pass_through():
    result = CliRunner().invoke(command_that(raising(click.exceptions.Exit(3))), [])
    assert (result.exit_code, result.stderr) == (3, "")


def test_debug_variable_keeps_all_tracebacks(monkeypatch):
    monkeypatch.setenv("STYLEGAN3_DEBUG", "1")
    result = CliRunner().invoke(command_that(raising(InputError("bad"))), [])
    assert isinstance(result.exception, ValueError)


def test_keyboard_interrupt_exits_with_130():
    result = CliRunner().invoke(command_that(raising(KeyboardInterrupt())), [])
    assert (result.exit_code, result.stderr) == (130, "Aborted\n")


def test_warnings_for_users_are_one_line():
    def action():
        import warnings

        warnings.warn("slow path", stacklevel=1)

    result = CliRunner().invoke(command_that(action), [])
    assert (result.exit_code, result.stderr) == (0, "Warning: slow path\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_unwind_inside_and_act_as_before_outside(number):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as info, cli.exit_when_terminated():
        os.kill(os.getpid(), number)
    assert info.value.code == 128 + number
    assert signal.getsignal(number) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_that_are_ignored_stay_ignored(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        with cli.exit_when_terminated():
            os.kill(os.getpid(), number)
        assert signal.getsignal(number) is signal.SIG_IGN
    finally:
        signal.signal(number, before)


def test_commands_of_a_group_report_errors_alike():
    @click.group(cls=cli.Group)
    def main():
        pass

    main.command(name="fail")(raising(InputError("--x 3 is too big")))
    result = CliRunner().invoke(main, ["fail"])
    assert (result.exit_code, result.stderr) == (1, "Error: --x 3 is too big\n")


def test_common_options():
    main = command_that(lambda: None)
    assert __version__ in CliRunner().invoke(main, ["--version"]).output
    assert "auto|cuda|cpu|mps" in CliRunner().invoke(main, ["--help"]).output
    result = CliRunner().invoke(main, ["--device=tpu"])
    assert result.exit_code == 2
    assert "'--device'" in result.stderr
