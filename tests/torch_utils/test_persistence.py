"""torch_utils.persistence: pickles that carry their source."""

import copy
import hashlib
import importlib
import inspect
import io
import linecache
import os
import pickle
import pickletools
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

import dnnlib
from torch_utils import persistence

ROOT = Path(__file__).parents[2]

SOURCE = '''
"""A module with persistent classes."""

import torch

from torch_utils import persistence

COLOUR = "grün"


@persistence.persistent_class
class Layer(torch.nn.Module):
    """One layer."""

    def __init__(self, width, gain=1.0):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.full([width], 2.0))
        self.register_buffer("offset", torch.ones(width))
        self.gain = gain

    def forward(self, x):
        return x * self.weight * self.gain + self.offset


@persistence.persistent_class
class Net(torch.nn.Module):
    def __init__(self, *widths, options=None):
        super().__init__()
        self.layers = torch.nn.ModuleList(Layer(width, gain=3.0) for width in widths)
        if options:
            options.clear()

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x

    def fail(self):
        raise RuntimeError("failed on purpose")


@persistence.persistent_class
class WiderNet(Net):
    def __init__(self, extra, **kwargs):
        super().__init__(2, 2, **kwargs)
        self.extra = extra


class Undecorated(Layer):
    pass


@persistence.persistent_class
class Plain:
    def __init__(self, value=None):
        self.value = value


@persistence.persistent_class
class Careful(Plain):
    def __getstate__(self):
        state = dict(self.__dict__)
        state["value"] = "from getstate"
        return state

    def __setstate__(self, state):
        self.__dict__.update(state, was_set=True)


def make_local_class():
    @persistence.persistent_class
    class Local(Plain):
        pass

    return Local


@persistence.persistent_class
class Slotted:
    __slots__ = ("x",)

    def __init__(self):
        self.x = 1
'''


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """The module above, imported from a file; the state of `persistence` is put back afterwards."""
    for attribute in ("_texts", "_module_names"):
        monkeypatch.setattr(persistence, attribute, dict(getattr(persistence, attribute)))
    monkeypatch.setattr(persistence, "_import_hooks", [])
    (tmp_path / "temp_nets.py").write_bytes(
        b"\xef\xbb\xbf" + SOURCE.encode().replace(b"\n", b"\r\n")
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield importlib.import_module("temp_nets")
    for name in set(sys.modules) - before:
        if name.startswith(("temp_nets", "_imported_module_")):
            del sys.modules[name]
    linecache.clearcache()


def meta_of(obj) -> dict:
    reconstruct, (meta,), state = obj.__reduce_ex__(4)
    assert reconstruct is persistence._reconstruct_persistent_obj and state is None
    return meta


def forget(module) -> None:
    """As if the module had never been imported, nor could be."""
    del sys.modules[module.__name__]
    persistence._forget(module.__name__)


def test_decorated_class_looks_like_the_original(nets):
    assert nets.Layer.__name__ == nets.Layer.__qualname__ == "Layer"
    assert nets.Layer.__module__ == "temp_nets" and nets.Layer.__doc__ == "One layer."
    assert list(inspect.signature(nets.Layer).parameters) == ["width", "gain"]
    assert persistence.persistent_class(nets.Layer) is nets.Layer
    assert persistence.is_persistent(nets.Layer) and persistence.is_persistent(nets.Layer(1))
    assert not persistence.is_persistent(nets.Undecorated)
    assert not persistence.is_persistent(torch.nn.Linear(1, 1)) and not persistence.is_persistent(1)


def test_constructor_arguments_are_kept_as_they_came(nets):
    net = nets.Net(2, 3, options={"a": [1]})
    assert net.init_args == (2, 3)
    assert net.init_kwargs == {"options": {"a": [1]}}
    assert type(net.init_kwargs) is dnnlib.EasyDict
    net.init_kwargs.options["a"].append(2)
    assert net.init_kwargs.options["a"] == [1]
    wider = nets.WiderNet("x", options=None)
    assert (wider.init_args, wider.init_kwargs) == (("x",), {"options": None})


def test_pickle_has_the_layout_of_published_files(nets):
    net = nets.Net(2, 3)
    meta = meta_of(net)
    assert list(meta) == ["type", "version", "module_src", "class_name", "state"]
    assert (meta["type"], meta["version"], meta["class_name"]) == ("class", 6, "Net")
    assert meta["module_src"] == SOURCE  # no byte order mark, plain line ends
    assert {"_init_args", "_init_kwargs", "_modules", "training"} <= set(meta["state"])
    data = pickle.dumps(net)
    assert data.count("grün".encode()) == 1
    names = [arg for op, arg, _ in pickletools.genops(data) if op.name == "SHORT_BINUNICODE"]
    assert "torch_utils.persistence" in names and "_reconstruct_persistent_obj" in names
    assert "temp_nets" not in names


def test_pickle_of_an_imported_module_gives_its_classes(nets):
    net = pickle.loads(pickle.dumps(nets.Net(2)))
    assert type(net) is nets.Net and type(net.layers[0]) is nets.Layer
    torch.testing.assert_close(net(torch.ones(2)), torch.full([2], 7.0))


def without_sharing(obj: object) -> bytes:
    """A pickle in which every object stands as often as it is used."""
    file = io.BytesIO()
    pickler = pickle.Pickler(file)
    pickler.fast = True
    pickler.dump(obj)
    return file.getvalue()


def test_pickle_opens_without_the_module(nets):
    original = {"G": nets.Net(2), "p": nets.Plain(nets.Layer(1))}
    data, whole = pickle.dumps(original), len(without_sharing(original))
    forget(nets)
    loaded = pickle.loads(data)
    net = loaded["G"]
    module = sys.modules[type(net).__module__]
    assert type(net) is module.Net and module is not nets
    assert type(loaded["p"].value) is type(net.layers[0]) is module.Layer
    digits = module.__name__.removeprefix("_imported_module_")
    assert len(digits) == 32 and int(digits, 16) >= 0
    torch.testing.assert_close(net(torch.ones(2)), torch.full([2], 7.0))
    # A second load meets the same module, and an object of it carries the same text onwards.
    assert type(pickle.loads(data)["G"]) is module.Net
    again = pickle.dumps(loaded)
    assert data.count("grün".encode()) == again.count("grün".encode()) == 1
    assert len(without_sharing(loaded)) == whole
    if sys.version_info < (3, 13):  # from then on, objects that were loaded share fewer texts
        assert len(again) == len(data)
    assert meta_of(module.Plain(3))["module_src"] == SOURCE


def test_embedded_source_is_seen_by_inspect_and_tracebacks(nets):
    data = pickle.dumps(nets.Net(2))
    forget(nets)
    net = pickle.loads(data)
    module = sys.modules[type(net).__module__]
    assert inspect.getsource(module) == SOURCE
    assert inspect.getsource(type(net).fail).strip().startswith("def fail(self):")
    with pytest.raises(RuntimeError) as error:
        net.fail()
    assert 'raise RuntimeError("failed on purpose")' in "".join(
        traceback.format_exception(error.value)
    )


def test_pickle_opens_in_a_process_without_the_package(nets, tmp_path):
    path = tmp_path / "elsewhere" / "net.pkl"
    path.parent.mkdir()
    path.write_bytes(pickle.dumps(nets.Net(2)))
    script = """
        import importlib.util, pickle, sys, torch
        assert importlib.util.find_spec("temp_nets") is None
        with open("net.pkl", "rb") as f:
            net = pickle.load(f)
        assert net(torch.ones(2)).tolist() == [7, 7]
        with open("again.pkl", "wb") as f:
            pickle.dump(net, f)
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], cwd=path.parent, env=env, check=True
    )
    again = (path.parent / "again.pkl").read_bytes()
    assert type(pickle.loads(again)) is nets.Net


def test_embedded_source_with_foreign_line_ends_is_the_same_module(nets):
    meta = meta_of(nets.Plain(1))
    meta["module_src"] = "\ufeff" + SOURCE.replace("\n", "\r\n")
    assert type(persistence._reconstruct_persistent_obj(meta)) is nets.Plain


def test_broken_embedded_source_leaves_no_module_behind(nets):
    text = "import no_such_package\n"
    meta = {**meta_of(nets.Plain(1)), "module_src": text}
    name = "_imported_module_" + hashlib.sha256(text.encode()).hexdigest()[:32]
    for _ in range(2):
        with pytest.raises(ModuleNotFoundError, match="no_such_package"):
            persistence._reconstruct_persistent_obj(dict(meta))
        assert name not in sys.modules and text not in persistence._module_names


@pytest.mark.parametrize(
    "change, message",
    [
        ({"version": 5}, "version 5.*only 'class', version 6"),
        ({"type": "function"}, "type 'function'"),
        ({"class_name": "Absent"}, "no class 'Absent'"),
        ({"class_name": "COLOUR"}, "no class 'COLOUR'"),
    ],
)
def test_unsupported_meta_is_refused(nets, change, message):
    with pytest.raises(pickle.UnpicklingError, match=message):
        persistence._reconstruct_persistent_obj({**meta_of(nets.Plain(1)), **change})


def test_import_hooks_change_what_is_rebuilt(nets):
    data = pickle.dumps(nets.Plain("old"))
    seen = []

    @persistence.import_hook
    def first(meta):
        seen.append((meta.type, meta.version, meta.class_name))
        meta.state.value = "new"
        return meta

    @persistence.import_hook
    def second(meta):
        meta.state.value += "er"
        meta.class_name = "Careful"
        return meta

    loaded = pickle.loads(data)
    assert type(loaded) is nets.Careful and loaded.value == "newer" and loaded.was_set
    assert seen == [("class", 6, "Plain")]


def test_import_hook_must_return_meta(nets):
    persistence.import_hook(lambda meta: None)
    with pytest.raises(TypeError, match="must return `meta`"):
        pickle.loads(pickle.dumps(nets.Plain(1)))
    with pytest.raises(TypeError, match="expected a function"):
        persistence.import_hook("x")


def test_getstate_and_setstate_are_respected(nets):
    for clone in (pickle.loads(pickle.dumps(nets.Careful(1))), copy.deepcopy(nets.Careful(1))):
        assert clone.value == "from getstate" and clone.was_set


def test_deepcopy_is_independent_and_keeps_sharing(nets):
    layer = nets.Layer(2)
    pair = nets.Plain([layer, layer])
    pair.value.append(pair)
    clone = copy.deepcopy(pair)
    assert type(clone) is nets.Plain and clone.value[2] is clone
    assert clone.value[0] is clone.value[1] is not layer
    with torch.no_grad():
        clone.value[0].weight.zero_()
    assert layer.weight.sum() == 4


def test_deepcopy_runs_no_hooks_nor_source_and_pickles_nothing(nets, monkeypatch):
    def refuse(*args):
        raise AssertionError

    net = nets.Net(2, 2)
    persistence.import_hook(refuse)
    for name in ("_execute", "_check_picklable", "_reconstruct_persistent_obj"):
        monkeypatch.setattr(persistence, name, refuse)
    clone = copy.deepcopy(net)
    torch.testing.assert_close(clone.state_dict(), net.state_dict())


def test_undecorated_subclass_pickles_by_its_name(nets):
    layer = nets.Undecorated(2)
    assert type(pickle.loads(pickle.dumps(layer))) is nets.Undecorated
    assert type(copy.deepcopy(layer)) is nets.Undecorated
    assert "grün".encode() not in pickle.dumps(layer)


def test_what_cannot_be_pickled_is_refused_when_it_is_made(nets):
    with pytest.raises(pickle.PicklingError, match="'Plain' cannot be pickled"):
        nets.Plain(lambda: 0)
    with pytest.raises(pickle.PicklingError, match="top level"):
        nets.make_local_class()()
    with pytest.raises(pickle.PicklingError, match="slots"):
        nets.Slotted()


def test_check_does_not_pickle_what_is_large(nets):
    class Untouchable(np.ndarray):
        def __reduce__(self):
            raise AssertionError

    nets.Plain([np.zeros(3).view(Untouchable), torch.zeros(3), nets.Plain()])


def test_reloaded_module_takes_its_new_text(nets, tmp_path):
    old = pickle.dumps(nets.Plain(1))
    new_text = SOURCE.replace("grün", "dark blue")
    (tmp_path / "temp_nets.py").write_text(new_text, encoding="utf-8")
    importlib.invalidate_caches()
    module = importlib.reload(nets)
    assert meta_of(module.Plain(1))["module_src"] == new_text
    assert type(pickle.loads(old)).__module__.startswith("_imported_module_")
    assert type(pickle.loads(pickle.dumps(module.Plain(1)))) is module.Plain


def test_class_without_source_is_refused():
    cls = type("Typed", (), {"__module__": "typed_in_a_session"})
    with pytest.raises(RuntimeError, match="no source code for module 'typed_in_a_session'"):
        persistence.persistent_class(cls)


def test_torch_save_works(nets):
    buffer = io.BytesIO()
    torch.save(nets.Net(2), buffer)
    buffer.seek(0)
    assert type(torch.load(buffer, weights_only=False)) is nets.Net
