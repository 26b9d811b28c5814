"""Classes whose instances carry their source code inside the pickle.

A persistent object is pickled together with the text of the module that defines its class. The
pickle opens even where that module is missing or has changed; it needs only `torch_utils` and
`dnnlib`.

In the pickle each such object is a call of `_reconstruct_persistent_obj` with one dictionary:

    type         always "class"
    version      always 6
    module_src   text of the defining module, without byte order mark, lines end in "\\n"
    class_name   name of the class in that module
    state        what `pickle` would store for an ordinary object: its `__dict__`

If the text is older than the installed libraries, it runs with their new names (`old_idioms`).
Pickling the object again stores the text unchanged.

Opening such a pickle runs the code in it. Open only pickles that you trust, or use `legacy`.
"""

import copy
import functools
import hashlib
import inspect
import io
import linecache
import pickle
import sys
import threading
from collections.abc import Callable
from types import ModuleType
from typing import Any, TypeVar, cast

import numpy as np
import torch

import dnnlib
from torch_utils import old_idioms

VERSION = 6

_PREFIX = "_imported_module_"  # modules made from embedded text are called this and 32 hex digits

_texts: dict[str, str] = {}  # module name -> text; one string object per text, so pickles share it
_module_names: dict[str, str] = {}  # text -> module name, the first that came with the text
_modules_lock = threading.RLock()
_import_hooks: list[Callable[[dnnlib.EasyDict], dnnlib.EasyDict]] = []

Class = TypeVar("Class", bound=type)


def persistent_class(orig_class: Class) -> Class:
    """Class decorator: make instances carry the source of the module that defines `orig_class`.

    The result is a subclass of the same name. Its instances remember the constructor arguments
    as `init_args` and `init_kwargs`, and must be picklable as soon as they are made. Decorating
    twice changes nothing. A subclass is persistent only if it is decorated itself.

    Raises:
        RuntimeError: If the source of the module is not available (interactive session).
    """
    if is_persistent(orig_class):
        return orig_class
    text = _text_of_module(orig_class.__module__, orig_class.__name__)

    base: Any = orig_class  # known at run time only

    class Persistent(base):
        _persistent_text = text

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            if type(self) is not Persistent:
                super().__init__(*args, **kwargs)
                return
            kept = copy.deepcopy((args, kwargs))  # the constructor may change its arguments
            super().__init__(*args, **kwargs)
            self._init_args, self._init_kwargs = kept
            _check_picklable(self)

        init_args, init_kwargs = property(_init_args), property(_init_kwargs)

        def __reduce_ex__(self, protocol):
            if type(self) is not Persistent:
                return super().__reduce_ex__(protocol)
            meta = {
                "type": "class",
                "version": VERSION,
                "module_src": text,
                "class_name": orig_class.__name__,
                "state": _state_of(self, super().__reduce_ex__),
            }
            return _reconstruct_persistent_obj, (meta,), None

        if not hasattr(orig_class, "__deepcopy__"):
            # Rebuilding from `meta` would run the import hooks on every copy.
            def __deepcopy__(self, memo):
                state = _state_of(self, super().__reduce_ex__)
                new = memo[id(self)] = type(self).__new__(type(self))
                _set_state(new, copy.deepcopy(state, memo))
                return new

    functools.update_wrapper(vars(Persistent)["__init__"], base.__init__)
    for attribute in ("__name__", "__qualname__", "__module__", "__doc__"):
        setattr(Persistent, attribute, getattr(orig_class, attribute))
    return cast("Class", Persistent)


def _init_args(obj: Any) -> tuple:
    """Positional arguments of the constructor, as a copy."""
    return copy.deepcopy(obj._init_args)


def _init_kwargs(obj: Any) -> dnnlib.EasyDict:
    """Keyword arguments of the constructor, as a copy."""
    return dnnlib.EasyDict(copy.deepcopy(obj._init_kwargs))


def is_persistent(obj: Any) -> bool:
    """Whether `obj` is a persistent class or an instance of one."""
    return "_persistent_text" in vars(obj if isinstance(obj, type) else type(obj))


def import_hook(hook: Callable[[dnnlib.EasyDict], dnnlib.EasyDict]) -> Callable:
    """Register a function that sees the `meta` of each persistent object before it is rebuilt.

    Hooks run in the order of their registration; each gets an `EasyDict` with the fields at the
    top of this file and returns it, changed or not. Usable as a decorator.
    """
    if not callable(hook):
        raise TypeError(f"import_hook: expected a function, got {type(hook).__name__}")
    _import_hooks.append(hook)
    return hook


def module_of_text(text: str) -> ModuleType:
    """The module with exactly this text, which is executed if no module has it."""
    text = normalised(text)
    with _modules_lock:
        module = sys.modules.get(_module_names.get(text, ""))
        if module is None:
            module = _execute(text)
        return module


def text_of(cls: type) -> str | None:
    """Text of the module that defines a persistent class, `None` for other classes."""
    return vars(cls).get("_persistent_text")


def check_version(meta: dict) -> None:
    """Refuse persistent objects of unknown type or version.

    Raises:
        UnpicklingError: If `meta` names another type than "class", or another version.
    """
    kind, version = meta.get("type"), meta.get("version")
    if kind != "class" or version != VERSION:
        raise pickle.UnpicklingError(
            f"persistent object of type {kind!r}, version {version!r}: only 'class', version "
            f"{VERSION}, is supported"
        )


def _reconstruct_persistent_obj(meta: dict) -> Any:
    """Rebuild one object; every pickle with persistent objects names this function."""
    meta = dnnlib.EasyDict(meta)
    meta.state = dnnlib.EasyDict(meta.state)
    for hook in _import_hooks:
        meta = hook(meta)
        if not isinstance(meta, dict):
            raise TypeError(f"import hook {hook!r} must return `meta`, got {type(meta).__name__}")
    check_version(meta)
    module = module_of_text(meta["module_src"])
    orig_class = vars(module).get(meta["class_name"])
    if not isinstance(orig_class, type):
        raise pickle.UnpicklingError(
            f"the source inside the pickle defines no class {meta['class_name']!r}"
        )
    cls: Any = persistent_class(orig_class)
    obj = cls.__new__(cls)
    _set_state(obj, dict(meta["state"]))
    return obj


def _state_of(obj: Any, reduce_ex: Callable[[int], tuple]) -> dict:
    """The `__dict__` that pickling without the decorator would store."""
    fields = reduce_ex(2)
    state = fields[2] if len(fields) > 2 else None
    if not isinstance(state, dict) or any(field is not None for field in fields[3:]):
        raise pickle.PicklingError(
            f"persistent class {type(obj).__name__!r} must keep its state in `__dict__`: slots and "
            f"subclasses of list or dict are not supported"
        )
    return state


def _set_state(obj: Any, state: dict) -> None:
    if hasattr(obj, "__setstate__"):
        obj.__setstate__(state)
    else:
        obj.__dict__.update(state)


def _check_picklable(obj: Any) -> None:
    """Pickle an object into the void, so that it fails when it is made and not when it is saved."""
    cls = type(obj)
    if cls.__qualname__ != cls.__name__:
        raise pickle.PicklingError(
            f"persistent class {cls.__qualname__!r} must be defined at the top level of its module"
        )
    try:
        _DryPickler(io.BytesIO()).dump(obj.__reduce_ex__(pickle.DEFAULT_PROTOCOL))
    except (pickle.PicklingError, TypeError, AttributeError) as err:
        raise pickle.PicklingError(
            f"an attribute of persistent class {cls.__name__!r} cannot be pickled: {err}"
        ) from err


class _DryPickler(pickle.Pickler):
    """Leaves out objects that are large, or known to be picklable."""

    def persistent_id(self, obj):
        if isinstance(obj, (str, bytes, torch.Tensor, np.ndarray)) or is_persistent(obj):
            return True
        return None


def _text_of_module(module_name: str, class_name: str) -> str:
    """Text of a module that is being, or was, imported."""
    if module_name.startswith(_PREFIX) and module_name in _texts:
        return _texts[module_name]
    try:
        # Not kept between calls: the module may have been edited and reloaded.
        text = inspect.getsource(sys.modules[module_name])
    except (KeyError, OSError, TypeError) as err:
        raise RuntimeError(
            f"persistent class {class_name!r}: no source code for module {module_name!r}; "
            f"define the class in a file"
        ) from err
    return _register(module_name, text)


def _execute(text: str) -> ModuleType:
    name = _PREFIX + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    file_name = f"<{name}>"
    code = old_idioms.modernise(text)
    module = ModuleType(name)
    module.__file__ = file_name
    sys.modules[name] = module
    _register(name, text)
    # Tracebacks and `inspect` look here. No time stamp: no file exists to compare with.
    linecache.cache[file_name] = (len(code), None, code.splitlines(keepends=True), file_name)
    try:
        exec(compile(code, file_name, "exec", dont_inherit=True), vars(module))
    except BaseException:
        sys.modules.pop(name, None)
        _forget(name)
        raise
    return module


def _register(module_name: str, text: str) -> str:
    """Note the text of a module; returns the one string object that stands for this text."""
    text = normalised(text)
    with _modules_lock:
        old_text = _texts.get(module_name)
        if old_text == text:
            return old_text
        _forget(module_name)
        if sys.modules.get(_module_names.get(text, "")) is not None:
            text = _texts[_module_names[text]]
        else:
            _module_names[text] = module_name
        _texts[module_name] = text
        return text


def _forget(module_name: str) -> None:
    text = _texts.pop(module_name, None)
    if text is not None and _module_names.get(text) == module_name:
        del _module_names[text]


def normalised(text: str) -> str:
    """A module's source as pickles carry it: no byte order mark, lines end in "\\n"."""
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
