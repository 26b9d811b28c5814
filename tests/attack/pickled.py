"""Hostile pickles: names, instructions and texts that the tests of the loader do not have yet."""

import functools
import os
import pickle
import pickletools
import struct
from collections.abc import Callable

import torch

from network_files.tensorflow_object import TensorFlowNetwork
from tests.attack import payloads
from tests.attack.payloads import MARK_PATH, PRECIOUS_PATH, PYTHON, SHELL, TEXT, TRAP
from tests.network_files import pickles, seeds
from tests.network_files.seeds import record
from tests.network_files.test_hostile import (
    BUILD,
    EMPTY_DICT,
    EMPTY_LIST,
    EMPTY_TUPLE,
    MARK,
    NONE,
    POP,
    START,
    array,
    binary,
    call,
    dtype,
    file_with,
    four_numbers,
    get,
    name,
    number,
    numbers,
    program,
    put,
    tensor,
    text,
    with_options,
    with_state,
)
from training import networks_stylegan3

SHELL_FUNCTIONS = """
    os.popen posix.popen posix.system nt.system commands.getoutput popen2.popen2 os.startfile
    subprocess.run subprocess.call subprocess.check_output subprocess.getoutput
    subprocess.getstatusoutput asyncio.create_subprocess_shell distutils.spawn.spawn
    numpy.distutils.exec_command.exec_command platform.popen pty.spawn webbrowser.open
    torch.utils.cpp_extension._run_ninja_build dnnlib.util.os.system pip.main pip._internal.main
"""
PYTHON_FUNCTIONS = """
    builtins.eval builtins.exec builtins.compile __builtin__.eval __builtin__.execfile
    code.interact codeop.compile_command timeit.timeit cProfile.run profile.run pdb.run bdb.Bdb
    trace.Trace doctest.debug_script runpy._run_code runpy.run_module ast.literal_eval
    numpy.testing._private.utils.runstring numpy.testing.measure PIL.ImageMath.eval
    PIL.ImageMath.unsafe_eval torch.fx.graph_module._exec_with_source
    torch.fx.graph_module.reduce_graph_module torch.utils._config_module.install_config_module
    torch._dynamo.utils.compile_times sympy.sympify torch.jit.script types.FunctionType
    types.CodeType types.ModuleType typing.get_type_hints dataclasses.make_dataclass
    collections.namedtuple builtins.type builtins.input builtins.breakpoint builtins.print
    builtins.globals builtins.vars builtins.range builtins.list builtins.memoryview
    builtins.property builtins.classmethod builtins.object builtins.super builtins.exit
    builtins.__import__ builtins.__build_class__ functools.reduce functools.singledispatch
    functools.partialmethod operator.call operator.itemgetter operator.setitem itertools.repeat
    itertools.starmap itertools.product logging.config.dictConfig inspect.getattr_static
    importlib.reload importlib._bootstrap._load importlib.util.module_from_spec pkgutil.resolve_name
    torch_utils.persistence.persistent_class torch_utils.persistence.import_hook
    torch_utils.persistence._src_to_module dnnlib.util.get_obj_by_name
    dnnlib.util.construct_class_by_name numpy.core.multiarray.fromstring numpy.vectorize
    torch.set_default_dtype torch.manual_seed torch.empty torch.zeros torch.compile
    torch.library.custom_op copyreg.__newobj_ex__ copyreg.pickle copyreg._extension_registry
    network_files.load._TrustingUnpickler metrics.detectors._CpuUnpickler
    pickle.Unpickler pickle._Unpickler
    _pickle.loads cloudpickle.loads joblib.load dill.loads jsonpickle.decode yaml.unsafe_load
    shelve.open marshal.load
"""
FILE_FUNCTIONS = """
    os.remove os.unlink os.rename os.mkdir os.mkfifo os.symlink os.chmod os.truncate os.execv
    os.kill os.abort os._exit os.chdir os.putenv sys.exit sys.setrecursionlimit signal.raise_signal
    shutil.rmtree shutil.move shutil.copyfile shutil.make_archive shutil.unpack_archive io.open
    _io.FileIO io.FileIO codecs.open pathlib.Path pathlib.PosixPath pathlib.Path.unlink
    tempfile.NamedTemporaryFile tempfile.mkstemp zipfile.ZipFile tarfile.open gzip.open bz2.open
    fileinput.input linecache.getlines mmap.mmap sqlite3.connect dbm.open ctypes.CDLL ctypes.cdll
    ctypes.string_at cffi.FFI socket.create_connection socket.socket urllib.request.urlopen
    urllib.request.urlretrieve http.client.HTTPConnection requests.get smtplib.SMTP ftplib.FTP
    xmlrpc.client.ServerProxy multiprocessing.Process multiprocessing.connection.Client
    concurrent.futures.ProcessPoolExecutor threading.Thread _thread.start_new_thread
    faulthandler._sigsegv atexit.register gc.get_objects sys.settrace sys.addaudithook
    torch.load torch.save torch.from_file torch.jit.load torch.ops.load_library
    torch.classes.load_library torch.hub.load torch.hub.load_state_dict_from_url
    torch.package.PackageImporter torch.utils.cpp_extension.load
    torch.utils.cpp_extension.load_inline torch.serialization.load
    torch.storage.UntypedStorage.from_file torch.UntypedStorage.from_file
    torch.distributed.init_process_group torch.cuda.memory._dump_snapshot numpy.load numpy.save
    numpy.fromfile numpy.memmap numpy.loadtxt numpy.genfromtxt numpy.DataSource
    numpy.ctypeslib.load_library numpy.core.multiarray.fromfile numpy.ndarray.tofile
    numpy.f2py.compile scipy.io.loadmat
    PIL.Image.open imageio.imread imageio_ffmpeg.write_frames matplotlib.pyplot.savefig
    dnnlib.util.open_url dnnlib.util.open_atomic dnnlib.util.Logger dnnlib.downloads.fetch
    legacy.load_network legacy.save_networks train.main gen_images.main
    training.dataset.ImageFolderDataset training.checkpoint.save metrics.feature_stats.load_state
    network_files.unpickler.load __main__.main site.main
"""


class Evil:
    """Pickles as a call of any function that exists here."""

    def __init__(self, function: Callable, *args: object) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


def with_memory(G_ema: bytes) -> bytes:
    """A pickle whose `G_ema` is what these instructions leave."""
    return program(EMPTY_DICT, text("G_ema"), G_ema, b"s")


def named(function: str, argument: str) -> bytes:
    """Call a function that is named with its module."""
    module, _, attribute = function.rpartition(".")
    return program(call(name(module, attribute), text(argument)))


def global_names() -> dict[str, bytes]:
    """Calls of functions that no network needs, one a file."""
    groups = {SHELL: SHELL_FUNCTIONS, PYTHON: PYTHON_FUNCTIONS, MARK_PATH: FILE_FUNCTIONS}
    return {
        function: named(function, argument)
        for argument, functions in groups.items()
        for function in functions.split()
    }


def protocols() -> dict[str, Callable[[], bytes]]:
    """Code in every protocol, alone and where the network is."""
    files = {}
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        for key, evil in {"os.system": Evil(os.system, SHELL), "eval": Evil(eval, PYTHON)}.items():
            content = {"G_ema": evil, "training_set_kwargs": None}
            files[f"{key}, protocol {protocol}"] = functools.partial(
                pickle.dumps, content, protocol
            )
            files[f"{key} as a value, protocol {protocol}"] = functools.partial(
                pickle.dumps, {"G_ema": record(), "x": evil}, protocol
            )
    return files


def line(value: str) -> bytes:
    """A text of protocol 0."""
    return b"V" + value.encode("raw_unicode_escape") + b"\n"


SYSTEM = b"cos\nsystem\n"
CALL_0 = SYSTEM + b"(" + line(SHELL) + b"tR."
INSTRUCTIONS = {
    "GLOBAL, protocol 0": CALL_0,
    "GLOBAL, then a sound network": lambda: b"\x80\x03" + CALL_0[:-1] + b"0" + seeds_body(),
    "GLOBAL after a sound network": lambda: seeds.dumps({"G_ema": record()})[:-1] + CALL_0,
    "second pickle behind the first": lambda: seeds.dumps({"x": 1}) + CALL_0,
    "INST, protocol 0": b"(" + line(SHELL) + b"ios\nsystem\n.",
    "INST of Popen": b"(" + line("/bin/sh") + b"isubprocess\nPopen\n.",
    "OBJ, protocol 1": b"(" + SYSTEM + line(SHELL) + b"o.",
    "NEWOBJ of a class": b"\x80\x02csubprocess\nPopen\n" + line(SHELL) + b"\x85\x81.",
    "NEWOBJ_EX of Popen": program(
        name("subprocess", "Popen"),
        text(SHELL) + b"\x85",
        EMPTY_DICT + text("shell") + b"\x88" + b"s",
        b"\x92",
    ),
    "REDUCE with arguments from the memo": program(
        text(SHELL), put(1), POP, name("os", "system"), put(2), POP, get(2), get(1), b"\x85R"
    ),
    "STACK_GLOBAL of parts from the memo": program(
        text("os"),
        put(1),
        POP,
        text("system"),
        put(2),
        POP,
        get(1),
        get(2),
        b"\x93",
        text(SHELL) + b"\x85R",
    ),
    "STACK_GLOBAL of numbers": program(number(1), number(2), b"\x93"),
    "STACK_GLOBAL of a dotted module": program(name("os.path.os", "system")),
    "STACK_GLOBAL of a dotted name": program(name("os", "path.os.system")),
    "STACK_GLOBAL of our module's module": program(name("dnnlib.util", "os.system")),
    "STACK_GLOBAL of wide letters": program(call(name("\uff4fs", "system"), text(SHELL))),
    "STACK_GLOBAL with a zero": program(call(name("os\0", "system"), text(SHELL))),
    "STACK_GLOBAL of a trap": program(call(name(TRAP, "run"), text(SHELL))),
    "GLOBAL of a trap": b"\x80\x02c" + TRAP.encode() + b"\nrun\n)R.",
    "GLOBAL of a relative module": b"\x80\x02c..os\nsystem\n)R.",
    "GLOBAL of nothing": b"\x80\x02c\n\n)R.",
    "GLOBAL without a line end": b"\x80\x02cos\nsystem",
    "GLOBAL that is no UTF-8": b"\x80\x02c\xff\xfe\nsystem\n)R.",
    "REDUCE as a key": program(EMPTY_DICT, CALL_0[:-1], NONE, b"s"),
    "REDUCE in a set": program(b"\x8f", MARK, CALL_0[:-1], b"\x90"),
    "REDUCE in a frozenset": program(MARK, CALL_0[:-1], b"\x91"),
    "REDUCE that is thrown away": program(CALL_0[:-1], POP, EMPTY_DICT),
    "REDUCE under a mark": program(MARK, CALL_0[:-1], b"1", EMPTY_DICT),
    "REDUCE of a text": program(text("os.system"), text(SHELL) + b"\x85R"),
    "REDUCE of a list of arguments": program(name("os", "system"), EMPTY_LIST, b"R"),
    "BUILD with slots": program(
        name("dnnlib", "EasyDict"),
        EMPTY_TUPLE,
        b"\x81",
        NONE,
        EMPTY_DICT + text("__class__") + name("os", "system") + b"s",
        b"\x86",
        BUILD,
    ),
    "BUILD of methods of an EasyDict": program(
        name("dnnlib", "EasyDict"),
        EMPTY_TUPLE,
        b"\x81",
        EMPTY_DICT + text("__getattr__") + name("torch", "device") + b"s",
        BUILD,
    ),
    "BUILD of an OrderedDict": lambda: with_memory(
        call(name("collections", "OrderedDict"))
        + EMPTY_DICT
        + text("__reduce__")
        + name("torch", "device")
        + b"s"
        + BUILD
    ),
    "BUILD of a set": program(b"\x8f", EMPTY_DICT, BUILD),
    "BUILD of a list": program(EMPTY_LIST, EMPTY_DICT, BUILD),
    "BUILD of a device": program(call(name("torch", "device"), text("cpu")), EMPTY_DICT, BUILD),
    "BUILD of a storage": program(
        call(name("torch.storage", "_load_from_bytes"), binary(four_numbers())), EMPTY_DICT, BUILD
    ),
    "BUILD of an array with a text": program(
        array(dtype("u1"), (1,), binary(b"x")), text("x"), BUILD
    ),
    "BUILD of a network of TensorFlow with a number": program(
        name("dnnlib.tflib.network", "Network"), EMPTY_TUPLE, b"\x81", number(1), BUILD
    ),
    "PERSID of a command": b"\x80\x02Pos.system\n.",
    "BINPERSID of a storage": program(
        MARK,
        text("storage"),
        name("torch", "float32"),
        text("../x"),
        text("cpu"),
        number(1),
        b"t",
        b"Q",
    ),
    "EXT1 of nothing": program(b"\x82\x00"),
    "EXT4 of a negative number": program(b"\x84\xff\xff\xff\xff"),
    "READONLY_BUFFER": program(b"\x98"),
    "STRING with escapes": b"\x80\x00S'\\x1b\\n'\n.",
    "STRING without quotes": b"\x80\x00Sabc\n.",
    "UNICODE that is cut": b"\x80\x00V\\u12\n.",
    "LONG of a million digits": b"\x80\x00L" + b"9" * 1_000_000 + b"L\n.",
    "FLOAT that is none": b"\x80\x00Fhello\n.",
    "FLOAT of a megabyte": b"\x80\x00F" + b"1" * (1 << 20) + b"\n.",
    "LONG4 of a negative length": START + b"\x8b\xff\xff\xff\xff.",
    "GET of nothing": b"\x80\x00g99999999999999999999\n.",
    "PUT at a giant place": b"\x80\x00Np99999999999999999999\n.",
    "PUT at a negative place": b"\x80\x00Np-1\n.",
    "DUP over and over": program(EMPTY_LIST, b"2" * 1_000_000, b"."),
    "MEMOIZE over and over": program(NONE, b"\x94" * 1_000_000),
    "FRAME in a FRAME": START + (b"\x95" + struct.pack("<Q", 16)) * 8 + b"N.",
    "FRAME of nothing, over and over": START + (b"\x95" + bytes(8)) * 100_000 + b"N.",
    "PROTO over and over": b"\x80\x04" * 100_000 + b"N.",
    "POP of more than there is": program(b"0" * 1000),
    "APPENDS without a mark": program(EMPTY_LIST, b"e"),
    "SETITEMS of an odd number": program(EMPTY_DICT, MARK, NONE, b"u"),
    "nothing but STOP": b".",
    "two marks and a STOP": START + b"((.",
}
for _opcode in pickletools.opcodes:  # each instruction without what it needs
    INSTRUCTIONS[f"{_opcode.name} alone"] = START + _opcode.code.encode("latin1")


def seeds_body() -> bytes:
    """The instructions of a sound pickle."""
    return pickle.dumps({"G_ema": record()}, protocol=3)[2:]


def repeated_build() -> bytes:
    """The state of a network of TensorFlow, of 45 000 keys, set again and again."""
    keys = b"".join(text(f"k{i}") + NONE for i in range(45_000))
    state = tensorflow_state(b"", keys) + put(0) + POP
    network = name("dnnlib.tflib.network", "Network") + EMPTY_TUPLE + b"\x81"
    return program(state, network, (get(0) + BUILD) * 20_000)


def ignored_arguments() -> bytes:
    """Calls with 90 000 arguments each that the function ignores."""
    storage = call(name("torch.storage", "_load_from_bytes"), binary(four_numbers()))
    first = storage + number(0) + numbers(1) + numbers(1)
    args = MARK + first + NONE * 90_000 + b"t" + put(0) + POP
    once = name("torch._utils", "_rebuild_tensor_v2") + get(0) + b"R0"
    return program(args, once * 20_000, EMPTY_DICT)


def many_dimensions(num: int = 90_000) -> bytes:
    """A tensor of one number in 90 000 dimensions, made again and again."""
    one = tensor(four_numbers(), 0, (1,) * num, (1,) * num)
    return with_memory(one)


def array_of_many_dimensions(num: int = 90_000) -> bytes:
    return with_memory(array(dtype("u1"), (1,) * num, binary(b"x")))


def many_dimensions_again_and_again(num: int = 90_000) -> bytes:
    """The same, made by thousands of calls."""
    one = many_dimensions(num)[len(START) : -1].partition(text("G_ema"))[2]
    args = one.partition(name("torch._utils", "_rebuild_tensor_v2"))[2][:-2]  # without REDUCE
    once = name("torch._utils", "_rebuild_tensor_v2") + get(0) + b"R0"
    return program(args + put(0) + POP, once * 5_000, EMPTY_DICT)


def record_under_many_names(num: int = 15) -> bytes:
    """One network of several megabytes under many names."""
    net = record(seeds.generator(img_resolution=64, channel_base=32768, channel_max=512))
    return pickle.dumps({"G_ema": net, **{f"net{i}": net for i in range(num)}}, protocol=4)


def giant_images(resolution: int = 1 << 16) -> bytes:
    """A file of 20 kB whose network would have buffers of so many pixels in either direction."""
    return with_options(img_resolution=resolution, channel_base=resolution, channel_max=1)


def network_of_giant_images(resolution: int = 1 << 16) -> bytes:
    """A sound network of 20 kB whose images are of so many pixels in either direction."""
    sizes = dict(img_resolution=resolution, img_channels=1, channel_base=resolution, channel_max=2)
    mapping_kwargs = dict(num_layers=1)
    G = networks_stylegan3.Generator(2, 0, 2, mapping_kwargs=mapping_kwargs, **sizes)
    return seeds.dumps({"G_ema": G})


def tensorflow_network(**changes) -> bytes:
    """A pickle of TensorFlow with other facts about its networks."""
    state = dict(
        version=4,
        name="G",
        static_kwargs={},
        components={},
        build_module_src=f"import os\n{PYTHON}\n",
        build_func_name="G_main",
        variables=[],
    )
    network = TensorFlowNetwork()
    network.__dict__.update({**state, **changes})
    return pickles.tensorflow_dumps((network,) * 3)


def tensorflow_state(components: bytes = b"", more: bytes = b"") -> bytes:
    """What a pickle says of a network of TensorFlow, with these components and other fields."""
    fields = {
        "version": number(4),
        "name": text("G"),
        "static_kwargs": EMPTY_DICT,
        "build_module_src": text(""),
        "build_func_name": text("G_main"),
        "variables": EMPTY_LIST,
        "components": EMPTY_DICT + components,
    }
    items = b"".join(text(key) + value for key, value in fields.items())
    return EMPTY_DICT + MARK + items + more + b"u"


def in_itself() -> bytes:
    """A network of TensorFlow that is one of its own components."""
    network = name("dnnlib.tflib.network", "Network") + EMPTY_TUPLE + b"\x81" + put(0)
    state = tensorflow_state(text("synthesis") + get(0) + b"s")
    return program(network, state, BUILD, b"\x85")


TENSORFLOW = {
    "source with an effect": tensorflow_network,
    "function of the operating system": lambda: tensorflow_network(
        build_func_name="os.system", static_kwargs={"command": SHELL}
    ),
    "giant resolution": lambda: tensorflow_network(static_kwargs={"resolution": 1 << 40}),
    "giant numbers": lambda: tensorflow_network(
        static_kwargs={"resolution": 1024, "fmap_base": 10**18, "mapping_layers": 10**9}
    ),
    "version of a million digits": lambda: tensorflow_network(version=1 << 3_000_000),
    "name with line ends": lambda: tensorflow_network(name=TEXT, build_func_name=TEXT),
    "long name": lambda: tensorflow_network(build_func_name="x" * 5_000_000),
    "variables with line ends": lambda: tensorflow_network(variables=[(TEXT, None)]),
    "variables that are numbers": lambda: tensorflow_network(variables=[1, 2, 3]),
    "many variables": lambda: tensorflow_network(variables=[(f"v{i}", i) for i in range(90_000)]),
    "options that are networks": lambda: tensorflow_network(static_kwargs={"x": {"y": [[[1]]]}}),
    "itself as a component": in_itself,
    "no state": program(name("dnnlib.tflib.network", "Network"), EMPTY_TUPLE, b"\x81\x85"),
}
LIMITS = {
    "repeated BUILD of a large state": repeated_build,
    "repeated calls with ignored arguments": ignored_arguments,
    "tensor of 90 000 dimensions": many_dimensions,
    "tensor of 90 000 dimensions, again and again": many_dimensions_again_and_again,
    "tensor of 65 dimensions": lambda: many_dimensions(65),
    "array of 90 000 dimensions": array_of_many_dimensions,
    "array of 65 dimensions": lambda: array_of_many_dimensions(65),
    "size of 10^18": lambda: with_memory(tensor(four_numbers(), 0, (10**18,), (0,))),
    "sizes whose product overflows": lambda: with_memory(
        tensor(four_numbers(), 0, (1 << 33, 1 << 33), (0, 0))
    ),
    "zero strides": lambda: with_memory(tensor(four_numbers(), 0, (1 << 16,) * 2, (0, 0))),
    "no numbers in giant dimensions": lambda: with_memory(
        tensor(four_numbers(), 0, (0, 1 << 62, 1 << 62), (1, 1, 1))
    ),
    "offset of 10^18": lambda: with_memory(tensor(four_numbers(), 10**18, (1,), (1,))),
    "stride of 10^18": lambda: with_memory(tensor(four_numbers(), 0, (2,), (10**18,))),
    "size that is a list": lambda: with_memory(
        tensor(four_numbers(), 0, (1,), (1,)).replace(numbers(1), EMPTY_LIST, 1)
    ),
    "nested tuples of 100 000": program(EMPTY_TUPLE, b"\x85" * 100_000),
    "nested lists of 100 000": program(EMPTY_LIST * 100_000, b"a" * 99_999),
    "nested dictionaries of 100 000": program(
        (EMPTY_DICT + text("a")) * 100_000, NONE, b"s" * 100_000
    ),
    "key of 60 nested tuples": program(EMPTY_DICT, EMPTY_TUPLE, b"2\x86" * 60, NONE, b"s"),
    "network under 16 names": record_under_many_names,
    "network under 900 names": lambda: record_under_many_names(900),
    "network of images of 65536": network_of_giant_images,
    "network of images of 16384": lambda: network_of_giant_images(1 << 14),
    "images of 65536": giant_images,
    "images of 16384": lambda: giant_images(1 << 14),
    "images of 2^30": lambda: giant_images(1 << 30),
    "10^9 channels": lambda: with_options(img_channels=10**9),
    "channels of 10^9 and images of 4": lambda: with_options(channel_base=10**9, channel_max=10**9),
    "z of 2^24": lambda: with_options(z_dim=1 << 24),
    "labels of 2^24": lambda: with_options(c_dim=1 << 24),
    "negative numbers": lambda: with_options(img_channels=-1, w_dim=-1, z_dim=-(2**40)),
    "options nested in options": lambda: with_options(
        mapping_kwargs={"mapping_kwargs": {"mapping_kwargs": {"num_layers": 10**9}}}
    ),
    "layers of 10^6 in the mapping": lambda: with_options(mapping_kwargs={"num_layers": 10**6}),
    "a text of 16 MB": lambda: with_options(activation="x" * (16 << 20)),
    "a dictionary of 100 000 options": lambda: with_options(**{f"o{i}": i for i in range(100_000)}),
}
TEXTS = {
    "module": program(name("os" + TEXT, "system")),
    "name": program(name("os", TEXT)),
    "class": lambda: file_with(record(class_name=TEXT)),
    "class that follows ours": lambda: file_with(record(class_name="Generator" + TEXT)),
    "type": lambda: file_with(record(type=TEXT)),
    "version": lambda: file_with(record(version=TEXT)),
    "source": lambda: file_with(record(module_src=TEXT)),
    "key of the file": lambda: pickle.dumps({TEXT: record()}, 4),
    "key beside the network": lambda: pickle.dumps({"G_ema": record(), TEXT: record()}, 4),
    "key with a lone surrogate": lambda: pickle.dumps({"\ud800": 1, "G_ema": None}, 2),
    "option": lambda: with_options(**{TEXT: 1}),
    "value of an option": lambda: with_options(activation=TEXT),
    "value in a list": lambda: with_options(resample_filter=[TEXT]),
    "name of a tensor": lambda: with_state(_buffers={TEXT: torch.ones(1)}),
    "name of a module": lambda: with_state(_modules={TEXT: record()}),
    "type of numbers": program(array(dtype(TEXT), (1,), binary(b"x"))),
    "order of bytes": program(
        dtype("f8"),
        MARK,
        number(3),
        text(TEXT),
        NONE,
        NONE,
        NONE,
        number(-1),
        number(-1),
        number(0),
        b"t",
        BUILD,
    ),
    "encoding": program(call(name("_codecs", "encode"), text("x"), text(TEXT))),
    "device": program(call(name("torch", "device"), text(TEXT))),
    "persistent id": program(text(TEXT), b"Q"),
    "nothing but a text": program(text(TEXT)),
    "escapes of all kinds": program(name("".join(map(chr, range(1, 160))), "x")),
    "a name of 10 MB": program(name("x" * (10 << 20), "y")),
    "a key of 10 MB": lambda: pickle.dumps({"x" * (10 << 20): 1}, 4),
}


def with_dataset(**kwargs) -> bytes:
    """A sound network that was trained with such a dataset."""
    own = dict(class_name="training.dataset.ImageFolderDataset", path="x.zip", use_labels=False)
    return pickle.dumps({"G_ema": seeds.generator(), "training_set_kwargs": {**own, **kwargs}}, 4)


DATASETS = {
    "class of the operating system": lambda: with_dataset(class_name="os.system", command=SHELL),
    "class of a trap": lambda: with_dataset(class_name=f"{TRAP}.Dataset"),
    "class of our package that is none": lambda: with_dataset(class_name="data.dataset.Path"),
    "class with a path": lambda: with_dataset(class_name="training.../x.Dataset"),
    "class with line ends": lambda: with_dataset(class_name=f"training.dataset.Dataset{TEXT}"),
    "class that is a list": lambda: with_dataset(class_name=["training.dataset.Dataset"]),
    "path of zeros without end": lambda: with_dataset(path="/dev/zero"),
    "path of this process's input": lambda: with_dataset(path="/dev/stdin"),
    "path of this process's memory": lambda: with_dataset(path="/proc/self/mem"),
    "path of all files": lambda: with_dataset(path="/proc/self"),
    "path of the home folder": lambda: with_dataset(path="~"),
    "path of a file in the home folder": lambda: with_dataset(path=PRECIOUS_PATH),
    "path that is a URL": lambda: with_dataset(path="http://127.0.0.1:9/x.zip"),
    "path with line ends": lambda: with_dataset(path=f"x{TEXT}.zip"),
    "path with a zero": lambda: with_dataset(path="x\0.zip"),
    "path that is a number": lambda: with_dataset(path=0),
    "path that is a list": lambda: with_dataset(path=["x"] * 1000),
    "path of a megabyte": lambda: with_dataset(path="x" * (1 << 20)),
    "giant resolution": lambda: with_dataset(resolution=1 << 60, max_size=10**18),
    "option with line ends": lambda: with_dataset(**{TEXT: TEXT}),
    "labels that are a text": lambda: with_dataset(use_labels=TEXT, xflip=TEXT),
    "other options": lambda: with_dataset(cache="ram", random_seed="x" * 100_000),
    "fingerprint with line ends": lambda: pickle.dumps(
        {"G_ema": seeds.generator(), "dataset_fingerprint": {TEXT: TEXT, "images": 10**30}}, 4
    ),
    "fingerprint that is a number": lambda: pickle.dumps(
        {"G_ema": seeds.generator(), "dataset_fingerprint": 1}, 4
    ),
}
SOURCES = {
    "at import": f"{PYTHON}\nclass Generator: pass\n",
    "in a decorator": f"@{PYTHON}\nclass Generator: pass\n",
    "in a default": f"def f(x={PYTHON}): pass\nclass Generator: pass\n",
    "in a metaclass": (
        f"class M(type):\n  def __call__(cls, *a, **k): {PYTHON}\n"
        "class Generator(metaclass=M): pass\n"
    ),
    "in the constructor": f"class Generator:\n  def __init__(self, *a, **k): {PYTHON}\n",
    "in a coding": "# coding: unicode_escape\n'\\u0022'\n",
    "that imports a trap": f"import {TRAP}\nclass Generator: pass\n",
    "that does not parse": "class Generator(:\n" + "(" * 10_000,
    "of 10 MB": "#" * (10 << 20),
    "with zeros": "class Generator:\0 pass\n",
}
PLANTED = {
    f"source {key}": functools.partial(
        lambda source: file_with(record(module_src=source, class_name="Generator")), source
    )
    for key, source in SOURCES.items()
} | {
    f"source {key}, of another class": functools.partial(
        lambda source: file_with(record(module_src=source, class_name="Other")), source
    )
    for key, source in SOURCES.items()
}


def groups() -> dict[str, dict[str, bytes | Callable[[], bytes]]]:
    """All of them, by mechanism."""
    return {
        "global": global_names(),
        "protocol": protocols(),
        "opcode": INSTRUCTIONS,
        "limit": LIMITS,
        "tensorflow": TENSORFLOW,
        "text": TEXTS,
        "dataset": DATASETS,
        "planted": PLANTED,
    }


def trap() -> str:
    """The module that nobody may import."""
    return f"{PYTHON}\nrun = Dataset = print\n# {payloads.MARK}\n"
