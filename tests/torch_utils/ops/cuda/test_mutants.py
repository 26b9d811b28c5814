"""The emulator reports each kernel that is broken on purpose."""

import re

import pytest
import torch

from tests.cuda_emulator import emulator
from tests.torch_utils.ops.cuda import mutants
from torch_utils.ops.calls import BiasAct, FilteredLrelu, Operands, UpFirDn
from torch_utils.ops.cuda import bias_act, filtered_lrelu, launcher, upfirdn2d

# Launches that do not need a barrier that others need: 2D filters of the upsampling are read behind
# the next one, and sums of columns that are computed once need no barrier before the second time.
NOT_NEEDED = re.compile(r"Filters<(\d+, ){4}true, false>|^bias_act_gradient<.*, false>$")


@pytest.fixture(scope="module")
def results():
    return mutants.find_all()


def test_absence_of_each_barrier_is_reported(results):
    reached = [m for m in results if m.mutation.barrier and m.is_reached]
    found = {m.mutation.barrier for m in reached if m.is_found}
    assert found
    assert found == set(mutants.barriers())
    missed = {(m.mutation.barrier, m.specialisation) for m in reached if not m.is_found}
    assert not {m for m in missed if not NOT_NEEDED.search(m[1])}


def test_overrun_and_misalignment_of_each_array_are_reported(results):
    changed = [m for m in results if m.mutation.array]
    arrays = {(m.kernel, m.mutation.array) for m in changed}
    declared = set()
    for path in emulator.SOURCES.glob("*.cu"):
        declared |= set(
            re.findall(r"(?<!extern )__shared__[^;]*?\b(\w+)(?:\[[^;]*)?;", path.read_text())
        )
    assert declared
    assert declared <= {name for _, name in arrays}
    assert not [m for m in changed if not m.is_found]


@pytest.fixture
def launch(monkeypatch):
    """Calls an op and launches its first kernel in the emulator with what `change` makes of it."""

    def launch(call, change):
        def changed(source, name, device, grid, block, args, *shared_bytes):
            emulator.launch(source, name, device, grid, block, args, *shared_bytes)
            args = [type(arg).from_buffer_copy(arg) for arg in args]
            change(args)
            emulator.launch(source, name, device, grid, block, args, *shared_bytes)

        monkeypatch.setattr(launcher, "launch", changed)
        call()

    return launch


def test_two_threads_that_write_the_same_output_are_reported(launch):
    x, f = torch.randn(1, 2, 9, 9), torch.randn(12)

    def repeat_rows(args):
        args[-1].y_h = 0

    def repeat_columns(args):
        args[0].y_strides[3] = 0

    call = FilteredLrelu(2, 2, (9, 10, 11, 8), 1.4, 0.2, 0.8, False)
    with pytest.raises(emulator.EmulatorError, match=r"race: .* writes address"):
        launch(lambda: upfirdn2d.upfirdn2d(x, f, UpFirDn((2, 2), (1, 1), (5,) * 4)), repeat_rows)
    with pytest.raises(emulator.EmulatorError, match=r"race: .* writes address"):
        launch(lambda: filtered_lrelu.filtered_lrelu(Operands(x, f, f), call), repeat_columns)


def test_vectors_of_a_tensor_that_is_not_aligned_are_reported(launch):
    x = torch.randn(1, 8, 8, 8)

    def shift(args):
        args[0].value += x.element_size()

    with pytest.raises(emulator.EmulatorError, match=r"not a multiple of 16"):
        launch(lambda: bias_act.bias_act(x, BiasAct()), shift)
