"""`--precision`, `--fp32` and `--tf32`: what they mean, and training in bfloat16 on the CPU."""

import copy
import dataclasses
import io
import pickle
from types import SimpleNamespace

import pytest
import torch
from click.testing import CliRunner

import legacy
import train
from dnnlib.errors import InputError
from network_files import safetensors_file
from tests.training.real_runs import GRAY
from tests.training.test_continuation import RUNS, assert_same_state, make_run, make_trainer
from tests.training.test_continuation import train as train_batches
from torch_utils import devices, misc
from torch_utils.distributed import Worker
from torch_utils.ops.cuda.recorder import record_launches
from training import (
    build,
    checkpoint,
    evaluation,
    kernels,
    precision,
    resume,
    state_contents,
    transfer,
)
from training.config import TrainOptions, make_config
from training.networks_stylegan2 import Discriminator

REQUIRED = dict(gpus=1, batch=4, gamma=1)
SMALL = dict(cbase=256, cmax=16, aug="noaug")
CFGS = ["stylegan3-t", "stylegan3-r", "stylegan2"]
IMAGES = dict(c_dim=0, img_resolution=16, img_channels=3)
CPU = torch.device("cpu")
MAX_LOSS_ERROR = 0.02  # bfloat16 has 8 significant bits, so each rounding errs by up to 0.004


def options(cfg="stylegan2", **kwargs) -> TrainOptions:
    return TrainOptions(cfg=cfg, **{**REQUIRED, **kwargs})


def config(cfg="stylegan2", **kwargs):
    return make_config(options(cfg, **kwargs), training_set_kwargs={})


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({}, "fp16"),
        ({"fp32": True}, "fp32"),
        ({"fp32": False}, "fp16"),
        ({"precision": "fp32"}, "fp32"),
        ({"precision": "fp32", "fp32": True}, "fp32"),
        ({"precision": "bf16", "fp32": False}, "bf16"),
    ],
)
def test_two_options_say_the_same(given, meant):
    got = options(**given).completed()
    assert (got.precision, got.fp32) == (meant, meant == "fp32")
    names = ("G_kwargs", "D_kwargs")
    kwargs, expected = (
        [getattr(c, name) for name in names] for c in (config(**given), config(precision=meant))
    )
    assert kwargs == expected


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("--fp32=1 --precision=bf16", "--fp32=True contradicts --precision=bf16"),
        ("--fp32=1 --precision=fp16", "--fp32=True contradicts --precision=fp16"),
        ("--fp32=0 --precision=fp32", "--fp32=False contradicts --precision=fp32"),
    ],
)
def test_contradiction_is_refused_in_one_line(given, message, tmp_path):
    command = f"--outdir={tmp_path} --cfg=stylegan2 --data={GRAY} --gpus=1 --batch=4 --gamma=1 -n"
    result = CliRunner().invoke(train.main, [*command.split(), *given.split()])
    assert result.exit_code == 1
    assert result.output == f"Error: {message}; leave one of them out\n"


@pytest.mark.parametrize("cfg", CFGS)
def test_networks_of_default_options_have_no_new_arguments(cfg):
    default = config(cfg)
    assert default.to_dict() == config(cfg, precision="fp16").to_dict()
    full = dict(num_fp16_res=0, conv_clamp=None)
    for name in ("G_kwargs", "D_kwargs"):
        kwargs = getattr(default, name)
        assert "half_dtype" not in str(kwargs)
        assert getattr(config(cfg, precision="fp32"), name) == {**kwargs, **full}
        assert getattr(config(cfg, precision="bf16"), name) == {**kwargs, "half_dtype": "bf16"}


def test_continued_run_keeps_its_precision_in_either_name():
    before = dict(REQUIRED, cfg="stylegan2", fp32=True)  # as older versions save it
    assert resume.combine(before, {"precision": "fp32", "tf32": True}).tf32
    for given in ({"precision": "bf16"}, {"fp32": False}):
        with pytest.raises(InputError, match="the run was started with"):
            resume.combine(before, given)
    now = dataclasses.asdict(options())
    assert state_contents._are_options(now)
    assert state_contents._are_options({**now, "precision": "bf16"})
    assert not state_contents._are_options({**now, "precision": "fp8"})
    assert resume.combine(now, {"precision": "fp16", "fp32": False}) == options()
    with pytest.raises(InputError, match=r"--precision=bf16: .* with --precision=fp16;"):
        resume.combine(now, {"precision": "bf16"})


@pytest.mark.parametrize(
    ("device", "capability", "given", "expected"),
    [
        ("cpu", None, {}, []),
        ("cpu", None, {"precision": "fp32"}, []),
        ("cpu", None, {"precision": "bf16"}, []),
        (
            "cpu",
            None,
            {"precision": "fp16"},
            ["--precision=fp16: --device=cpu computes in float32"],
        ),
        ("cuda", (7, 5), {"precision": "fp16"}, []),
        ("cpu", None, {"tf32": True}, ["--tf32=1 has no effect: --device=cpu has no TF32"]),
        ("mps", None, {"precision": "bf16"}, ["--device=mps computes in float32"]),
        ("cuda", (7, 5), {}, []),
        ("cuda", (7, 5), {"tf32": True}, ["this GPU (sm_75) has no TF32"]),
        ("cuda", (7, 5), {"precision": "bf16"}, ["this GPU (sm_75) can only emulate bfloat16"]),
        ("cuda", (8, 0), {"precision": "bf16", "tf32": True}, []),
        ("cuda", (12, 0), {"precision": "bf16", "tf32": True}, []),
    ],
)
def test_device_without_the_arithmetic_is_named(device, capability, given, expected, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    lines = list(precision.notes(config(**given), torch.device(device)))
    assert len(lines) == len(expected)
    for line, text in zip(lines, expected, strict=True):
        assert line.startswith("Note: ") and text in line and "\n" not in line


def test_run_sets_the_arithmetic_and_says_what_the_device_lacks(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(devices, "configure_backends", lambda *args: given.append(args))
    for tf32 in (True, False):
        given = []
        run = dataclasses.replace(make_run(tmp_path / str(tf32), "stylegan2"), tf32=tf32)
        make_trainer(run).log.close()
        assert [args[3] for args in given] == [tf32]
        assert ("Note: --tf32=1 has no effect" in capsys.readouterr().out) == tf32


def test_metrics_of_a_run_never_use_tf32(monkeypatch, tmp_path):
    """Their features of real images enter a cache that `calc_metrics.py` shares."""
    main, seen = evaluation.metric_main, []

    def calc_metric(*args, **kwargs):
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return SimpleNamespace(results=dict(fid=1.0))

    monkeypatch.setattr(main, "find_missing", lambda *args: {})
    monkeypatch.setattr(main, "calc_metric", calc_metric)
    monkeypatch.setattr(main, "report_metric", lambda *args, **kwargs: None)
    metrics = evaluation.SnapshotMetrics(Worker(), config(tf32=True))
    with devices.using_tf32(True):  # (not every PyTorch has attributes that pytest can patch)
        assert metrics.evaluate(torch.nn.Identity(), tmp_path / "x.pkl") == dict(fid=1.0)
        assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32
    assert seen == [(False, False)]


class Run:
    """Networks and loss of a configuration, from the same random numbers for any precision."""

    def __init__(self, cfg: str, precision: str) -> None:
        torch.manual_seed(0)
        self.config = config(cfg, precision=precision, **SMALL)
        self.G = build.build_generator(self.config, IMAGES)
        self.D = build.build_discriminator(self.config, IMAGES)
        self.loss = build.build_loss(self.config, CPU, self.G, self.D, None)
        self.optimizers = {
            net: torch.optim.Adam(net.parameters(), lr=1e-3, betas=(0.0, 0.99))
            for net in (self.G, self.D)
        }

    def step(self) -> dict[str, float]:
        """One iteration with all phases; the losses by name."""
        losses = {}

        def report(name, value):
            losses[name] = value.detach().double().mean().item()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("training.loss.training_stats.report", report)
            for phase, net in (("Gboth", self.G), ("Dboth", self.D)):
                self.G.requires_grad_(net is self.G), self.D.requires_grad_(net is self.D)
                net.zero_grad(set_to_none=True)
                z, img = torch.randn(4, 512), torch.rand(4, 3, 16, 16) * 2 - 1
                c = torch.zeros(4, 0)
                self.loss.accumulate_gradients(phase, img, c, z, c, gain=1, cur_nimg=10**9)
                grads = [p.grad for p in net.parameters() if p.grad is not None]
                assert len(grads) > 5 and all(grad.isfinite().all() for grad in grads)
                assert all(grad.dtype == torch.float32 for grad in grads)
                self.optimizers[net].step()
        return losses


@pytest.mark.parametrize("cfg", CFGS)
def test_training_in_bfloat16_stays_close_to_float32(cfg):
    runs = {name: Run(cfg, name) for name in ("fp32", "bf16")}
    for seed in range(3):
        losses = {}
        for name, run in runs.items():
            torch.manual_seed(seed)
            losses[name] = run.step()
        assert {"Loss/G/loss", "Loss/D/loss", "Loss/D/reg"} <= losses["fp32"].keys()
        assert ("Loss/pl_penalty" in losses["fp32"]) == (cfg == "stylegan2")
        for name in ("Loss/G/loss", "Loss/D/loss"):
            error = abs(losses["bf16"][name] - losses["fp32"][name])
            assert 0 < error < MAX_LOSS_ERROR, (seed, name)
        for name in ("Loss/r1_penalty", "Loss/pl_penalty"):
            want = losses["fp32"].get(name)
            assert want is None or losses["bf16"][name] == pytest.approx(want, rel=0.1)


@pytest.mark.parametrize("cfg", CFGS)
def test_layers_of_high_resolutions_compute_in_bfloat16(cfg):
    run = Run(cfg, "bf16")
    dtypes = {}

    def record(module, inputs, output):
        dtypes[module] = output.dtype if isinstance(output, torch.Tensor) else output[0].dtype

    parts = [m for net in (run.G, run.D) for m in net.modules() if hasattr(m, "use_fp16")]
    for module in (*parts, run.D.b4):
        module.register_forward_hook(record)
    with torch.no_grad():
        img = run.G(torch.zeros(2, 512), None)
        logits = run.D(img, None)
        assert {dtypes[module] for module in parts if module.use_fp16} == {torch.bfloat16}
        assert {dtypes[module] for module in parts if not module.use_fp16} <= {torch.float32}
        assert img.dtype == logits.dtype == dtypes[run.D.b4] == torch.float32
        assert {p.dtype for p in run.G.parameters()} == {torch.float32}
        full = run.G(torch.zeros(2, 512), None, force_fp32=True)
        run.D(img, None, force_fp32=True)
    assert {dtypes[module] for module in parts} == {torch.float32}
    assert 0 < (full - img).abs().max() < 0.05 * full.abs().max()


def test_channels_last_is_for_bfloat16_too():
    kwargs = dict(channel_base=256, channel_max=16, block_kwargs={"fp16_channels_last": True})
    layouts = []
    for half_dtype in ("fp16", "bf16"):
        D = Discriminator(0, 16, 3, half_dtype=half_dtype, **kwargs)
        hook = D.b8.conv0.register_forward_pre_hook(lambda _, inputs: layouts.append(inputs[0]))
        D(torch.zeros(4, 3, 16, 16), None)
        hook.remove()
    assert [x.dtype for x in layouts] == [torch.float32, torch.bfloat16]  # fp16 needs CUDA
    assert [x.is_contiguous(memory_format=torch.channels_last) for x in layouts] == [False, True]


@pytest.mark.parametrize("cfg", CFGS)
def test_unknown_half_precision_is_refused(cfg):
    bad = config(cfg, precision="bf16", **SMALL)
    for kwargs, build_network in (
        (bad.G_kwargs, build.build_generator),
        (bad.D_kwargs, build.build_discriminator),
    ):
        kwargs["half_dtype"] = "fp8"
        with pytest.raises(ValueError, match='`half_dtype` must be "fp16" or "bf16", got \'fp8\''):
            build_network(bad, IMAGES)


@pytest.mark.parametrize("name", RUNS)
def test_continued_run_in_bfloat16_equals_the_uninterrupted_one(name, tmp_path, monkeypatch):
    monkeypatch.setitem(RUNS, name, {**RUNS[name], "precision": "bf16"})
    whole, parts = (make_run(tmp_path / part, name) for part in ("whole", "parts"))
    assert whole.G_kwargs["half_dtype"] == "bf16"
    train_batches(Worker(), whole, None, 3)
    train_batches(Worker(), parts, None, 2)
    (state_path,) = checkpoint.states(tmp_path / "parts")
    train_batches(Worker(), parts, state_path, 1)
    assert_same_state(
        tmp_path / "parts/training-state-000000024.pt",
        tmp_path / "whole/training-state-000000024.pt",
    )


@pytest.fixture(params=CFGS)
def networks(request) -> dict[str, torch.nn.Module]:
    """Generator and discriminator, in bfloat16."""
    run = Run(request.param, "bf16")
    return dict(G=run.G, D=run.D, G_ema=copy.deepcopy(run.G).eval())


@pytest.mark.parametrize("is_safetensors", [False, True])
def test_files_keep_bfloat16(networks, is_safetensors):
    file = io.BytesIO()
    data = {**networks, "training_set_kwargs": None}
    if is_safetensors:
        safetensors_file.save(file, data)
    else:
        pickle.dump({**data, "augment_pipe": None}, file)
    file.seek(0)
    got = legacy.load_network_pkl(file)
    z = torch.randn(2, 512)
    with torch.no_grad():
        img = networks["G_ema"](z, None, noise_mode="const")
        full = networks["G_ema"](z, None, noise_mode="const", force_fp32=True)
        assert torch.equal(got["G_ema"](z, None, noise_mode="const"), img)
        assert not torch.equal(full, img)
        assert torch.equal(got["D"](img, None), networks["D"](img, None))
    for name in networks:
        assert got[name].init_kwargs["half_dtype"] == "bf16"


def test_force_fp16_means_float16(networks):
    pickled = io.BytesIO(pickle.dumps({**networks, "augment_pipe": None}))
    data = legacy.load_network_pkl(pickled, force_fp16=True)
    for name in networks:
        kwargs = data[name].init_kwargs
        assert "half_dtype" not in kwargs and kwargs["num_fp16_res"] == 4
        assert {m.half_dtype for m in data[name].modules() if hasattr(m, "half_dtype")} == {"fp16"}


def test_run_in_bfloat16_starts_from_networks_of_any_precision(networks):
    cfg = "stylegan2" if "noise" in str(networks["G"].state_dict().keys()) else "stylegan3-t"
    if networks["G"].init_kwargs.get("conv_kernel") == 1:
        cfg = "stylegan3-r"
    for name in ("fp32", "fp16", "bf16"):
        run = Run(cfg, name)
        transfer.check(networks["G"], run.G)
        assert transfer.copy(networks["G"], run.G) == []
        assert run.G.init_kwargs.get("half_dtype") == ("bf16" if name == "bf16" else None)
        named = dict(misc.named_params_and_buffers(networks["G"]))
        for key, tensor in misc.named_params_and_buffers(run.G):
            assert torch.equal(tensor, named[key])


@pytest.mark.parametrize("cfg", CFGS)
def test_kernels_of_a_run_follow_its_precision(cfg):
    types = {}
    for name in ("fp32", "fp16", "bf16"):
        with record_launches() as launched:
            kernels.launch_all(config(cfg, precision=name, cbase=512, cmax=16), **IMAGES)
        texts = [text for _, text in launched]
        types[name] = {t for t in ("__half", "__nv_bfloat16") if any(t in text for text in texts)}
        assert any("float" in text.replace("bfloat16", "") for text in texts)
    assert types == {"fp32": set(), "fp16": {"__half"}, "bf16": {"__nv_bfloat16"}}
