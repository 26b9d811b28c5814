"""InceptionV3 beside the paper's tables, a second implementation, and TensorFlow's resize."""

import io

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from metrics import inception

# Szegedy et al. 2016, Table 1 and Figs. 5 to 7, in TensorFlow's version: units of a block, and
# their [input channels, output channels, kernel height, kernel width]; C is the input of the block,
# others are named below.
STEM = {
    "Conv2d_1a_3x3": (3, 32, 3, 3),
    "Conv2d_2a_3x3": (32, 32, 3, 3),
    "Conv2d_2b_3x3": (32, 64, 3, 3),
    "Conv2d_3b_1x1": (64, 80, 1, 1),
    "Conv2d_4a_3x3": (80, 192, 3, 3),
}
BLOCKS = {
    "A": {
        "branch1x1": ("C", 64, 1, 1),
        "branch5x5_1": ("C", 48, 1, 1),
        "branch5x5_2": (48, 64, 5, 5),
        "branch3x3dbl_1": ("C", 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
        "branch_pool": ("C", "pool", 1, 1),
    },
    "B": {
        "branch3x3": ("C", 384, 3, 3),
        "branch3x3dbl_1": ("C", 64, 1, 1),
        "branch3x3dbl_2": (64, 96, 3, 3),
        "branch3x3dbl_3": (96, 96, 3, 3),
    },
    "C": {
        "branch1x1": ("C", 192, 1, 1),
        "branch7x7_1": ("C", "c7", 1, 1),
        "branch7x7_2": ("c7", "c7", 1, 7),
        "branch7x7_3": ("c7", 192, 7, 1),
        "branch7x7dbl_1": ("C", "c7", 1, 1),
        "branch7x7dbl_2": ("c7", "c7", 7, 1),
        "branch7x7dbl_3": ("c7", "c7", 1, 7),
        "branch7x7dbl_4": ("c7", "c7", 7, 1),
        "branch7x7dbl_5": ("c7", 192, 1, 7),
        "branch_pool": ("C", 192, 1, 1),
    },
    "D": {
        "branch3x3_1": ("C", 192, 1, 1),
        "branch3x3_2": (192, 320, 3, 3),
        "branch7x7x3_1": ("C", 192, 1, 1),
        "branch7x7x3_2": (192, 192, 1, 7),
        "branch7x7x3_3": (192, 192, 7, 1),
        "branch7x7x3_4": (192, 192, 3, 3),
    },
    "E": {
        "branch1x1": ("C", 320, 1, 1),
        "branch3x3_1": ("C", 384, 1, 1),
        "branch3x3_2a": (384, 384, 1, 3),
        "branch3x3_2b": (384, 384, 3, 1),
        "branch3x3dbl_1": ("C", 448, 1, 1),
        "branch3x3dbl_2": (448, 384, 3, 3),
        "branch3x3dbl_3a": (384, 384, 1, 3),
        "branch3x3dbl_3b": (384, 384, 3, 1),
        "branch_pool": ("C", 192, 1, 1),
    },
}
# Name: type, size and channels of the input, size and channels of the output, other channels.
MIXED = {
    "Mixed_5b": ("A", 35, 192, 35, 256, dict(pool=32)),
    "Mixed_5c": ("A", 35, 256, 35, 288, dict(pool=64)),
    "Mixed_5d": ("A", 35, 288, 35, 288, dict(pool=64)),
    "Mixed_6a": ("B", 35, 288, 17, 768, {}),
    "Mixed_6b": ("C", 17, 768, 17, 768, dict(c7=128)),
    "Mixed_6c": ("C", 17, 768, 17, 768, dict(c7=160)),
    "Mixed_6d": ("C", 17, 768, 17, 768, dict(c7=160)),
    "Mixed_6e": ("C", 17, 768, 17, 768, dict(c7=192)),
    "Mixed_7a": ("D", 17, 768, 8, 1280, {}),
    "Mixed_7b": ("E", 8, 1280, 8, 2048, {}),
    "Mixed_7c": ("E", 8, 2048, 8, 2048, {}),
}


def expected_shapes() -> dict[str, tuple[int, ...]]:
    units = dict(STEM)
    for name, (block, _, channels, _, _, others) in MIXED.items():
        numbers = {"C": channels, **others}
        for unit, shape in BLOCKS[block].items():
            units[f"{name}.{unit}"] = tuple(numbers.get(v, v) for v in shape)
    shapes = {"fc.weight": (1008, 2048), "fc.bias": (1008,)}
    for name, (channels_in, channels_out, height, width) in units.items():
        shapes[f"{name}.conv.weight"] = (channels_out, channels_in, height, width)
        for of_bn in ("weight", "bias", "running_mean", "running_var"):
            shapes[f"{name}.bn.{of_bn}"] = (channels_out,)
    return shapes


def random_state_dict() -> dict[str, torch.Tensor]:
    """Weights with which the activations stay about the same from layer to layer."""
    torch.manual_seed(0)
    state = {}
    for name, shape in expected_shapes().items():
        if name.endswith(("running_var", "bn.weight")):
            state[name] = torch.rand(shape) * 0.6 + 0.7
        elif name.endswith(("bias", "running_mean")):
            state[name] = torch.randn(shape) * 0.2
        else:
            state[name] = torch.randn(shape) * (2 / np.prod(shape[1:])) ** 0.5
        if name.endswith("running_mean"):  # as in the published file
            state[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    return state


def save(state) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return file


@pytest.fixture(scope="module")
def state():
    return random_state_dict()


@pytest.fixture(scope="module")
def network(state):
    return inception.load_inception(save(state))


class Plain:
    """The network once more, in float64: one expression per branch, normalisation apart."""

    def __init__(self, state):
        self.state = {k: v.double() for k, v in state.items()}

    def unit(self, x, name, stride=1, padded=True):
        weight, mean, var, gain, bias = (
            self.state[f"{name}.{key}"]
            for key in ("conv.weight", "bn.running_mean", "bn.running_var", "bn.weight", "bn.bias")
        )
        padding = [size // 2 if padded else 0 for size in weight.shape[2:]]
        x = F.conv2d(x, weight, stride=stride, padding=padding)
        x = (x - mean[:, None, None]) / (var[:, None, None] + 0.001).sqrt()
        return (x * gain[:, None, None] + bias[:, None, None]).clamp(min=0)

    def chain(self, x, block, *units):
        for unit in units:
            x = self.unit(x, f"{block}.{unit}")
        return x

    def average(self, x):
        """Sum over 3x3 pixels, divided by how many of them there are."""
        ones = torch.ones([x.shape[1], 1, 3, 3], dtype=x.dtype)
        total = F.conv2d(x, ones, padding=1, groups=x.shape[1])
        return total / F.conv2d(torch.ones_like(x), ones, padding=1, groups=x.shape[1])

    def maximum(self, x, stride=2, padding=0):
        x = F.pad(x, [padding] * 4, value=-torch.inf)
        return x.unfold(2, 3, stride).unfold(3, 3, stride).amax((4, 5))

    def block(self, name, x):
        return torch.cat(getattr(self, MIXED[name][0])(name, x), dim=1)

    def A(self, name, x):
        return (
            self.chain(x, name, "branch1x1"),
            self.chain(x, name, "branch5x5_1", "branch5x5_2"),
            self.chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3"),
            self.chain(self.average(x), name, "branch_pool"),
        )

    def B(self, name, x):
        double = self.chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2")
        return (
            self.unit(x, f"{name}.branch3x3", stride=2, padded=False),
            self.unit(double, f"{name}.branch3x3dbl_3", stride=2, padded=False),
            self.maximum(x),
        )

    def C(self, name, x):
        return (
            self.chain(x, name, "branch1x1"),
            self.chain(x, name, *(f"branch7x7_{i}" for i in (1, 2, 3))),
            self.chain(x, name, *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5))),
            self.chain(self.average(x), name, "branch_pool"),
        )

    def D(self, name, x):
        single = self.chain(x, name, "branch3x3_1")
        factorised = self.chain(x, name, *(f"branch7x7x3_{i}" for i in (1, 2, 3)))
        return (
            self.unit(single, f"{name}.branch3x3_2", stride=2, padded=False),
            self.unit(factorised, f"{name}.branch7x7x3_4", stride=2, padded=False),
            self.maximum(x),
        )

    def E(self, name, x):
        pooled = self.maximum(x, 1, 1) if name == "Mixed_7c" else self.average(x)
        return (
            self.chain(x, name, "branch1x1"),
            self.chain(x, name, "branch3x3_1", "branch3x3_2a"),
            self.chain(x, name, "branch3x3_1", "branch3x3_2b"),
            self.chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3a"),
            self.chain(x, name, "branch3x3dbl_1", "branch3x3dbl_2", "branch3x3dbl_3b"),
            self.chain(pooled, name, "branch_pool"),
        )

    def features(self, img):
        x = (torch.from_numpy(resized(img.numpy(), 299)).double() - 128) / 128
        x = self.unit(x, "Conv2d_1a_3x3", stride=2, padded=False)
        x = self.unit(x, "Conv2d_2a_3x3", padded=False)
        x = self.maximum(self.unit(x, "Conv2d_2b_3x3"))
        x = self.unit(self.unit(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3", padded=False)
        x = self.maximum(x)
        for name, (_, size, channels, *_) in MIXED.items():
            assert x.shape[1:] == (channels, size, size)
            x = self.block(name, x)
        return x.mean((2, 3))


def resized(img: np.ndarray, size: int) -> np.ndarray:
    """TensorFlow 1's `resize_bilinear` without aligned corners, row by row."""
    height, width = img.shape[2:]
    x = np.arange(size, dtype=np.float32) * np.float32(width / size)
    x0 = np.floor(x).astype(int)
    x1 = np.minimum(x0 + 1, width - 1)
    rows = []
    for i in range(size):
        y = np.float32(i) * np.float32(height / size)
        y0 = int(y)
        y1 = min(y0 + 1, height - 1)
        top = img[:, :, y0, x0] * (1 - (x - x0)) + img[:, :, y0, x1] * (x - x0)
        bottom = img[:, :, y1, x0] * (1 - (x - x0)) + img[:, :, y1, x1] * (x - x0)
        rows.append(top * (1 - (y - y0)) + bottom * (y - y0))
    return np.stack(rows, axis=2)


def random_images(num, height=299, width=299):
    generator = torch.Generator().manual_seed(num)
    return torch.randint(0, 256, [num, 3, height, width], dtype=torch.uint8, generator=generator)


def relative_error(got, exact):
    return ((got - exact).abs().max() / exact.abs().max()).item()


def test_parameters_have_the_names_and_shapes_of_the_published_file():
    network = inception.InceptionV3()
    assert {k: tuple(v.shape) for k, v in network.state_dict().items()} == expected_shapes()
    # The classifier of 1000 classes without its auxiliary head has 23 834 568.
    assert sum(p.numel() for p in network.parameters()) == 23_834_568 + 8 * 2049


@pytest.mark.parametrize(
    "name", ["Mixed_5c", "Mixed_6a", "Mixed_6c", "Mixed_7a", "Mixed_7b", "Mixed_7c"]
)
def test_blocks_match_a_second_implementation(network, state, name):
    _, size, channels, out_size, out_channels, _ = MIXED[name]
    x = torch.rand([2, channels, size, size])
    got = getattr(network, name)(x)
    assert got.shape == (2, out_channels, out_size, out_size)
    assert relative_error(got, Plain(state).block(name, x.double())) < 2e-6


def test_features_and_probabilities_match_a_second_implementation(network, state):
    img = random_images(1, 61, 100)
    features = Plain(state).features(img)
    got = network(img, return_features=True)
    assert got.shape == (1, 2048) and got.dtype == torch.float32
    assert relative_error(got, features) < 1e-5
    weight, bias = state["fc.weight"].double(), state["fc.bias"].double()
    probs = network(img)
    assert probs.shape == (1, 1008)
    assert relative_error(probs, (features @ weight.T + bias).softmax(1)) < 1e-4
    without_bias = network(img, no_output_bias=True)
    assert relative_error(without_bias, (features @ weight.T).softmax(1)) < 1e-4
    assert relative_error(without_bias, probs) > 0.1


@pytest.mark.parametrize("height, width", [(299, 299), (16, 61), (300, 299), (512, 298), (1, 1)])
def test_resize_follows_tensorflows_formula(height, width):
    img = random_images(1, height, width).float()
    expected = torch.from_numpy(resized(img.numpy(), 299))
    assert (inception.resize(img, 299) - expected).abs().max() < 1e-4
    for size in (5, 8):
        expected = torch.from_numpy(resized(img.numpy(), size))
        assert (inception.resize(img, size) - expected).abs().max() < 1e-4


def test_folding_the_normalisations_changes_nothing(network, state):
    unfolded = inception.InceptionV3().requires_grad_(False)
    unfolded.load_state_dict({k: v for k, v in state.items() if "num_batches" not in k})
    img = random_images(1, 128, 128)
    expected = unfolded(img, return_features=True)
    assert relative_error(network(img, return_features=True), expected) < 2e-6


def test_images_do_not_depend_on_the_batch(network):
    img = random_images(3, 64, 64)
    together = network(img, return_features=True)
    alone = torch.cat([network(img[i : i + 1], return_features=True) for i in range(3)])
    assert relative_error(together, alone) < 2e-6
    assert network(img[:0], return_features=True).shape == (0, 2048)


def test_network_is_ready_for_use(network):
    assert not network.training
    assert all(not p.requires_grad and p.dtype == torch.float32 for p in network.parameters())


def test_load_reads_files_half_precision_and_files_without_counts(tmp_path, network, state):
    path = tmp_path / "inception.pth"
    torch.save({k: v.half() for k, v in state.items() if "num_batches" not in k}, path)
    loaded = inception.load_inception(path)
    assert all(p.dtype == torch.float32 for p in loaded.parameters())
    assert relative_error(loaded.fc.weight, network.fc.weight) < 1e-3


def test_load_lists_what_differs(tmp_path, state):
    state = dict(state)
    for name in ("fc.bias", "Conv2d_1a_3x3.bn.bias", "Mixed_5b.branch1x1.bn.bias", "fc.weight"):
        del state[name]
    state["AuxLogits.fc.bias"] = torch.zeros([1000])
    state["Conv2d_2a_3x3.conv.weight"] = torch.zeros([32, 32, 5, 5])
    path = tmp_path / "other.pth"
    torch.save(state, path)
    with pytest.raises(ValueError) as error:
        inception.load_inception(path)
    assert str(error.value) == (
        f"{path} holds no FID InceptionV3: it lacks Conv2d_1a_3x3.bn.bias, "
        "Mixed_5b.branch1x1.bn.bias, fc.bias and 1 more, has unknown AuxLogits.fc.bias, has other "
        "shapes of Conv2d_2a_3x3.conv.weight [32, 32, 5, 5] instead of [32, 32, 3, 3]"
    )


@pytest.mark.parametrize(
    "content",
    [b"no weights", b"", torch.zeros([1]), {"a": "text"}, {"a": torch.nn.Linear}],
    ids=repr,
)
def test_load_refuses_other_files_in_one_line(tmp_path, content):
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"file\.pth is not a .*state dict") as error:
        inception.load_inception(path)
    assert "\n" not in str(error.value)


def test_load_leaves_missing_files_to_the_system(tmp_path):
    with pytest.raises(FileNotFoundError):
        inception.load_inception(tmp_path / "missing.pth")
