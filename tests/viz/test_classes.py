"""Choosing a class, by number or by name."""

import json
import pickle

import pytest
import torch

from tests.viz import networks

pytestmark = pytest.mark.slow
NAMES = [f"{animal} {number}" for number in range(250) for animal in ("cat", "dog", "owl", "Elk")]


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """A network with a thousand classes, trained with a dataset that has names for them."""
    folder = tmp_path_factory.mktemp("many")
    (folder / "data").mkdir()
    (folder / "data" / "dataset.json").write_text(json.dumps({"labels": [], "class_names": NAMES}))
    torch.manual_seed(0)
    G = networks.stylegan2(c_dim=1000)
    options = {"path": str(folder / "data")}
    (folder / "many.pkl").write_bytes(pickle.dumps({"G_ema": G, "training_set_kwargs": options}))
    return folder / "many.pkl"


@pytest.fixture
def person(open_window, many):
    person = open_window()
    person.application.load(str(many))
    person.settle()
    return person


def rows(person) -> list[str]:
    """The classes that the open list shows."""
    person.items.clear()
    person.pump(2)
    found = [name.partition("##class name ") for name in person.items]
    return [name for name, mark, _ in found if name and mark]


def test_class_is_typed_as_a_number(person):
    first = person.check(class_idx=0).tobytes()
    person.enter("##class", "641", 0.2)
    assert person.check(class_idx=641).tobytes() != first
    person.enter("##class", "99999", 0.2)
    person.check(class_idx=999)
    person.click("##class", 0.97)
    person.check(class_idx=999)
    person.enter("##class", "-3", 0.2)
    person.check(class_idx=0)


def test_class_is_searched_by_name_and_enter_takes_the_first(person):
    person.click_without_settling("##class name")
    assert rows(person)[:5] == NAMES[:5]
    assert len(rows(person)) == 200  # a hint says that there are more
    person.type("eLK 12")  # at once: the search has the keyboard
    assert rows(person) == [f"Elk {number}" for number in (12, *range(120, 130))]
    person.do("key", "Return")
    person.check(class_idx=NAMES.index("Elk 12"))
    person.click_without_settling("##class name")
    assert len(rows(person)) == 200  # a new search
    person.type("owl 7")
    person.click("owl 71##class name 286")
    person.check(class_idx=286)


def test_search_without_a_result_changes_nothing(person):
    person.enter("##class", "5", 0.2)
    person.click_without_settling("##class name")
    person.type("zebra")
    assert rows(person) == []
    person.do("key", "Return")
    person.do("key", "Escape")
    assert person.application._dialogs._open is None
    person.check(class_idx=5)


def test_names_are_shown_for_the_chosen_class_only_where_they_are_known(open_window, folder):
    person = open_window()
    person.application.load(str(folder / "cond.pkl"))
    person.settle()
    assert "##class name" not in person.items and "##class" in person.items
    person.application.load(str(folder / "t.pkl"))
    person.settle()
    person.items.clear()
    person.pump()
    assert "##class" not in person.items
