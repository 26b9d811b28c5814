"""A part of the attack that is short enough for every change; `python -m tests.attack` does all."""

import collections
import functools
import sys

import pytest
from click.testing import CliRunner

if sys.platform != "linux":
    pytest.skip("the attack measures memory as Linux does", allow_module_level=True)

from tests.attack import __main__ as program
from tests.attack import hostile, payloads
from tests.attack.attack import Attack
from tests.attack.entrances import ENTRANCES, Entrance
from tests.attack.pickled import named
from tests.attack.trial import FALLS, Limits, Outcome
from tests.network_files import test_hostile
from tests.network_files.conftest import victim  # noqa: F401

MAX_SECONDS = 5  # of the processor, for the loader
FILES_EACH = 10  # through each entrance
TIGHT = Limits(cpu_sec=2, wall_sec=20, memory_bytes=1 << 28)


@pytest.fixture(scope="session")
def attack():
    """A process that has imported the scripts, and the files that they need."""
    attack = Attack()
    yield attack
    attack.close()


@functools.cache
def own_groups() -> dict[str, list[str]]:
    """The files that the loader's own tests do not give to the loader, by mechanism."""
    theirs = {case.id for case in test_hostile.cases()}
    groups = collections.defaultdict(list)
    for name in hostile.all_files():
        if name not in theirs:
            groups[name.partition(":")[0]].append(name)
    return dict(groups)


def falls(attack: Attack, files: list[str], entrance: str) -> list[str]:
    """What went wrong, with the commands to repeat it."""
    tries = [attack.give(file, entrance) for file in files]
    return [program.describe(one, is_warm=True) for one in tries if one.fall is not None]


@pytest.mark.slow
@pytest.mark.parametrize("group", own_groups())
def test_the_loader_refuses_all_files(victim, group):  # noqa: F811
    complaints = {}
    for name in own_groups()[group]:
        complaints[name] = victim.load(hostile.content_of(name)).complaint(MAX_SECONDS)
    assert {name: text for name, text in complaints.items() if text is not None} == {}


@pytest.mark.slow
@pytest.mark.parametrize("entrance", ENTRANCES)
def test_some_files_through_each_entrance(attack, entrance):
    if (reason := attack.why_closed(entrance)) is not None:
        pytest.skip(reason)
    files = list(hostile.all_files())
    step = len(files) // FILES_EACH
    first = list(ENTRANCES).index(entrance) * step // len(ENTRANCES)  # others through each
    assert falls(attack, files[first::step], entrance) == []


# What a loader that is none does with files; and what the attack must say.
WEAKNESSES = {
    "command": (named("os.system", payloads.SHELL), "ran code: changed home"),
    "Python": (named("builtins.eval", payloads.PYTHON), "ran code: changed home"),
    "overwriting": (
        named("builtins.eval", f"open({payloads.PRECIOUS_PATH!r}, 'r+').write('x')"),
        f"ran code: changed home/{payloads.PRECIOUS}",
    ),
    "environment": (
        named("builtins.eval", "__import__('os').environ.update(X='1')"),
        "ran code: changed environment: X",
    ),
    "folder": (named("os.chdir", "/"), "ran code: changed folder"),
    "methods": (
        named("builtins.exec", "import dnnlib; dnnlib.EasyDict.get = None"),
        "ran code: changed EasyDict.get",
    ),
    "trap": (named(f"{payloads.TRAP}.run", "x"), "traceback: ModuleNotFoundError"),
    "busy": (named("builtins.eval", "sum(range(10**12))"), "timeout: "),
    "memory": (named("builtins.eval", "len(bytearray(300 << 20))"), "memory: 3"),
    "memory that there is not": (named("builtins.eval", "bytearray(9 << 30)"), "memory: refused"),
    "error": (named("builtins.eval", "1 / 0"), "traceback: ZeroDivisionError"),
    "signal": (named("builtins.eval", "__import__('faulthandler')._sigsegv()"), "crash: signal 11"),
    "escapes": (named("builtins.print", "\x1b[2J"), "raw output: "),
    "line of its own": (named("builtins.print", payloads.FORGED), "raw output: "),
    "exit code": (named("sys.exit", ""), "wrong exit code: 1 without"),
    "other exit code": (named("builtins.eval", "exit(3)"), "wrong exit code: 3"),
}


@pytest.fixture
def weak_entrance(monkeypatch):
    entrance = Entrance("tests.attack.weak", lambda props: ["in/hostile.pkl"], None)
    monkeypatch.setitem(ENTRANCES, "weak", entrance)
    return "weak"


@pytest.mark.parametrize("name", WEAKNESSES)
def test_the_attack_notices_what_a_file_does(attack, weak_entrance, name):
    content, expected = WEAKNESSES[name]
    one = attack.give(name, weak_entrance, content, TIGHT)
    assert one.fall is not None and one.fall.startswith(expected), one
    assert one.fall.partition(":")[0] in FALLS


def test_the_attack_notices_a_script_that_waits(attack, weak_entrance):
    content = named("builtins.eval", "__import__('time').sleep(99)")
    one = attack.give("sleeping", weak_entrance, content, Limits(wall_sec=1))
    assert one.fall.startswith("timeout: ")


def test_what_stands_and_what_falls():
    assert Outcome(0).fall(TIGHT) is None
    assert Outcome(1, stderr="Warning: x\nError: y\n").fall(TIGHT) is None
    assert Outcome(1, stderr="Error: x\nError: y\n").fall(TIGHT).startswith("wrong exit code")
    assert Outcome(1, stderr="Error: y\nmore\n").fall(TIGHT).startswith("wrong exit code")
    assert Outcome(2, stderr="Error: y\n").fall(TIGHT).startswith("wrong exit code: 2")
    assert Outcome(1, stderr="Error: " + "x" * 6000).fall(TIGHT).startswith("raw output")
    assert Outcome(1, stderr="Error: x\n", peak_bytes=1 << 30).fall(TIGHT) == "memory: 1024 MiB"


def test_there_are_enough_files_and_each_is_another():
    assert len(hostile.all_files()) > 900 and len(own_groups()) > 10
    quick = [
        n for g in ("global", "protocol", "opcode", "state", "features") for n in own_groups()[g]
    ]
    assert len({hostile.content_of(name) for name in quick}) == len(quick) > 400


def test_mutations_are_made_from_their_number():
    first = [hostile.mutation(number) for number in range(12)]
    assert first == [hostile.mutation(number) for number in range(12)]
    assert len(set(first)) > 10


def test_the_program_lists_its_files_and_knows_their_names():
    result = CliRunner().invoke(program.main, ["--list", "--file", "opcode: *"])
    assert result.exit_code == 0 and "opcode: INST, protocol 0" in result.output.splitlines()
    result = CliRunner().invoke(program.main, ["--file", "no such file"])
    assert result.exit_code == 2 and "--list shows the names" in result.output


def test_the_program_says_in_one_line_what_fell():
    stood = program.Try("a", "legacy", Outcome(0), None)
    fell = program.Try("it's", "state", Outcome(1, 2.5), "timeout: 99 s")
    assert program.describe(fell, True).splitlines()[1].strip() == (
        """python -m tests.attack --file 'it'"'"'s' --entrance state"""
    )
    assert program.summary([stood, fell]) == (
        "2 tries of 2 files through 2 entrances: 0 ran code, 0 crashed, 1 over time, "
        "0 over memory, 0 tracebacks, 0 raw output, 0 other exit codes"
    )
