"""A network whose file is deleted or rewritten while the window shows it."""

import shutil

import numpy as np
import pytest

pytestmark = pytest.mark.slow


def test_picture_stays_while_its_file_changes_and_is_then_that_of_the_new_file(
    open_window, folder, tmp_path, capfd
):
    network = tmp_path / "network-snapshot-000100.pkl"
    shutil.copy(folder / "t.pkl", network)
    person = open_window()
    person.application.load(str(network))
    first = person.check()

    network.unlink()
    person.click("##seed", 0.97)
    result = person.application.result
    assert result.error is None and result.notice is None and result.view.x == 1
    person.application.load(str(folder / "t.pkl"))
    same = person.check(x=1)
    person.application.load(str(network))
    person.settle()
    assert "No such file" in person.application.result.error

    shutil.copy(folder / "t.pkl", network)
    person.application.load(str(network))
    np.testing.assert_array_equal(person.check(x=1), same)
    whole = (folder / "gray.pkl").read_bytes()
    network.write_bytes(whole[: len(whole) // 2])
    capfd.readouterr()
    person.click("##seed", 0.73)
    result = person.application.result
    np.testing.assert_array_equal(result.image, first)  # of the network as it was
    assert result.error is None and network.name in result.notice
    left, top, right, bottom = (int(edge) for edge in person.application.picture.whole)
    shown = person.pixels()[top : top + (bottom - top) * 2 // 3, left:right]
    expected = first.repeat((right - left) // 16, axis=0).repeat((right - left) // 16, axis=1)
    np.testing.assert_array_equal(shown, expected[: len(shown)])  # the notice is below it
    person.click("##seed", 0.97)
    assert network.name in person.application.result.notice
    assert capfd.readouterr().err.count(network.name) == 1  # not for every picture

    network.write_bytes(whole)
    person.click("##seed", 0.73)
    assert person.application.result.notice is None
    assert person.application.result.network.img_channels == 1
    person.check(x=0)
