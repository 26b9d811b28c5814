"""Sources from old pickles run with the names of today's libraries."""

import inspect
import linecache
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import scipy.signal
import torch

from torch_utils import old_idioms, persistence

SOURCE = '''"""A layer of a fork."""

import numpy as np
import scipy.signal
import torch
from scipy import signal
from torch_utils import persistence
{imports}


@persistence.persistent_class
class Layer(torch.nn.Module):
    def forward(self, x):
        return {expression}  # of a fork
'''

# Idiom -> import, expression, what it gives for 2.0.
IDIOMS = {
    "np.float": ("", "np.array([x], dtype=np.float).tolist()", [2.0]),
    "np.int": ("", "np.int(np.log2(x)) * numpy.int(1.5)", 1),
    "np.bool": ("", "np.zeros([1]).astype(np.bool).tolist()", [False]),
    "np.object": ("", "np.array([None], np.object).dtype.kind", "O"),
    "np.complex": ("", "np.complex(x, 1)", 2 + 1j),
    "np.Inf": ("", "-np.Inf * x", -np.inf),
    "np.NaN": ("", "np.isnan(np.NaN)", True),
    "np.product": ("", "np.product([x, 3])", 6),
    "scipy.signal.gaussian": ("", "scipy.signal.gaussian(3, std=x)[1]", 1),
    "signal.kaiser": ("", "signal.kaiser(5, 8).sum() > signal.hann(3).sum()", True),
    "imported window": (
        "from scipy.signal import gaussian, kaiser as window  # filters",
        "gaussian(3, std=x)[1] + window(5, 8)[2]",
        2,
    ),
    "parse_version": (
        "from pkg_resources import parse_version",
        "parse_version(torch.__version__) >= parse_version('1.7.0a0')",
        True,
    ),
    "LooseVersion": (
        "from distutils.version import LooseVersion as V",
        "V('1.9') < V('1.10.0') <= V(torch.__version__)",
        True,
    ),
}
REMOVED = {
    np: [*old_idioms.PYTHON_TYPES, *old_idioms.NUMPY_NAMES],
    scipy.signal: old_idioms.WINDOWS,
}

pytestmark = pytest.mark.filterwarnings("ignore:In the future `np:FutureWarning")


@pytest.fixture(autouse=True)
def newest_libraries(monkeypatch, no_traces):
    """Remove what some supported versions of the libraries still have."""
    for module, names in REMOVED.items():
        for name in names:
            monkeypatch.delattr(module, name, raising=False)
    for name in [*sys.modules, "pkg_resources", "distutils"]:
        if name.partition(".")[0] in ("pkg_resources", "distutils"):
            monkeypatch.setitem(sys.modules, name, None)
    yield
    linecache.clearcache()


class Pickled:
    """Pickles as a persistent object of a source that cannot be imported here."""

    def __init__(self, text):
        state = {**vars(torch.nn.Module()), "_init_args": (), "_init_kwargs": {}}
        self.meta = dict(type="class", version=6, module_src=text, class_name="Layer", state=state)

    def __reduce__(self):
        return persistence._reconstruct_persistent_obj, (self.meta,), None


def source(idiom):
    imports, expression, _ = IDIOMS[idiom]
    imports += "\nimport numpy" if "numpy." in expression else ""
    return SOURCE.format(imports=imports, expression=expression)


@pytest.mark.parametrize("idiom", IDIOMS)
def test_source_fails_as_it_is_and_works_when_loaded(idiom, monkeypatch):
    data, want = pickle.dumps(Pickled(source(idiom))), IDIOMS[idiom][2]
    with monkeypatch.context() as context:
        context.setattr(old_idioms, "modernise", lambda text: text)
        with pytest.raises((AttributeError, ImportError)):
            pickle.loads(data)(2.0)
    for name in [name for name in sys.modules if name.startswith("_imported_module_")]:
        del sys.modules[name]
    assert pickle.loads(data)(2.0) == want


def test_text_that_is_pickled_again_is_the_one_that_came():
    text = source("np.float")
    seen = []
    persistence.import_hook(lambda meta: seen.append(meta.module_src) or meta)
    layer = pickle.loads(pickle.dumps(Pickled(text)))
    again = pickle.loads(pickle.dumps(layer))
    assert seen == [text, text] and type(again) is type(layer)
    assert layer.__reduce_ex__(4)[1][0]["module_src"] == text
    # Tracebacks and `inspect` show what runs.
    assert "dtype=float)" in inspect.getsource(type(layer).forward)


def test_text_changed_by_a_hook_is_modernised_too():
    @persistence.import_hook
    def change(meta):
        meta.module_src = meta.module_src.replace("return x", "return np.int(x) + 1")
        return meta

    text = SOURCE.format(imports="", expression="x")
    assert pickle.loads(pickle.dumps(Pickled(text)))(2.5) == 3


@pytest.mark.parametrize(
    "text",
    [
        "np.float32(1) + np.int_(2) + np.int64(3) + np.boolean",
        "self.np.float + xnp.int + np_float + np.integer",
        "np.inf, np.nan, np.prod, np.production, np.Infinity",
        "scipy.signal.kaiser_atten(1, 2); scipy.signal.windows.gaussian(3, 1)",
        "from scipy.signal import firwin, kaiser_beta",
        "from scipy.signal import gaussian, firwin",
        "signal.gaussian(3)  # no module of SciPy",
        "other.signal.gaussian(3)",
        "from pkg_resources import resource_string",
        "from distutils.version import StrictVersion",
    ],
)
def test_other_text_stays_as_it_is(text):
    assert old_idioms.modernise(text) == text


def test_names_that_exist_stay_as_they_are(monkeypatch):
    for module, names in REMOVED.items():
        for name in names:
            monkeypatch.setattr(module, name, object(), raising=False)
    for module, name in (("pkg_resources", "parse_version"), ("distutils.version", "LooseVersion")):
        monkeypatch.setitem(sys.modules, module.partition(".")[0], ModuleType("parent"))
        monkeypatch.setitem(sys.modules, module, ModuleType(module))
        setattr(sys.modules[module], name, str)
    for idiom in IDIOMS:
        assert old_idioms.modernise(source(idiom)) == source(idiom)


def test_lines_keep_their_numbers():
    for idiom in IDIOMS:
        new = old_idioms.modernise(source(idiom))
        assert new != source(idiom) and new.count("\n") == source(idiom).count("\n")


def test_our_own_sources_need_nothing():
    from training import augment, networks_stylegan2, networks_stylegan3

    for module in (augment, networks_stylegan2, networks_stylegan3):
        text = inspect.getsource(module)
        assert old_idioms.modernise(text) == text
