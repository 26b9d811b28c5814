"""Directions against their definitions in NumPy."""

import numpy as np
import pytest
import torch

from dnnlib.errors import InputError
from editing import directions
from editing.directions import Directions
from network_files.load import load_network
from tests.small_networks import stylegan2, stylegan3
from torch_utils import latents


def styles(G: torch.nn.Module, num: int, seed: int, c: torch.Tensor | None = None) -> np.ndarray:
    rng = np.random.RandomState(seed)
    z = torch.from_numpy(rng.randn(num, G.z_dim)).float()
    with torch.no_grad():
        return G.mapping(z, torch.zeros([num, 0]) if c is None else c)[:, 0].double().numpy()


def assert_same_line(found: np.ndarray, expected: np.ndarray) -> None:
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=-1)), 1, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1, atol=1e-5)


@pytest.fixture(scope="module", params=["stylegan2", "t"])
def G(request):
    torch.manual_seed(3)
    return stylegan2() if request.param == "stylegan2" else stylegan3()


def test_pca_is_that_of_numpy(G, monkeypatch):
    monkeypatch.setattr(directions, "BATCH", 300)  # several batches, the last one smaller
    found = directions.find_pca(G, 3, 1000, seed=5)
    rng = np.random.RandomState(5)
    z = np.concatenate([rng.randn(size, G.z_dim) for size in (300, 300, 300, 100)])
    with torch.no_grad():
        ws = G.mapping(torch.from_numpy(z).float(), torch.zeros([1000, 0]))[:, 0].double().numpy()
    _, values, vectors = np.linalg.svd(ws - ws.mean(axis=0), full_matrices=False)
    assert found.vectors.shape == (3, 1, 8) and found.names == ("pc0", "pc1", "pc2")
    assert_same_line(found.vectors[:, 0], vectors[:3])
    np.testing.assert_allclose(found.scales, values[:3] / np.sqrt(1000), rtol=1e-4)


@pytest.mark.parametrize("layers", [None, [1], [2, 3]])
def test_weights_are_eigenvectors_of_the_affines(G, layers):
    found = directions.find_weights(G, 2, layers)
    chosen = range(G.num_ws) if layers is None else layers
    rows = [w.double().numpy() for i in chosen for w in directions.affine_weights(G)[i]]
    A = np.concatenate(rows)
    A /= np.linalg.norm(A, axis=1, keepdims=True)
    vectors = np.linalg.svd(A)[2][:2]
    if layers is None:
        assert found.vectors.shape == (2, 1, 8)
        assert_same_line(found.vectors[:, 0], vectors)
    else:
        for layer in range(G.num_ws):
            if layer in layers:
                assert_same_line(found.vectors[:, layer], vectors)
            else:
                assert (found.vectors[:, layer] == 0).all()
    spread = (styles(G, directions.NUM_FOR_SCALES, 0) @ vectors.T).std(axis=0)
    np.testing.assert_allclose(found.scales, spread, rtol=1e-3)


@pytest.mark.parametrize("architecture", ["orig", "skip", "resnet", None])
def test_affines_belong_to_the_styles_that_they_see(architecture):
    G = stylegan3() if architecture is None else stylegan2(architecture=architecture)
    ws = torch.arange(G.num_ws).float()[None, :, None].repeat(1, 1, G.w_dim)
    seen: dict[str, int] = {}
    for name, module in G.synthesis.named_modules():
        if name.endswith("affine"):
            module.register_forward_pre_hook(
                lambda _, args, name=name: seen.update({name: int(args[0][0, 0])})
            )
    with torch.no_grad():
        G.synthesis(ws)
    modules = dict(G.synthesis.named_modules())
    for layer, weights in enumerate(directions.affine_weights(G)):
        expected = [
            modules[name].weight
            for name, style in seen.items()
            if style == layer and not name.startswith("input.")
        ]
        assert {w.data_ptr() for w in weights} == {w.data_ptr() for w in expected}


def test_classes_lead_from_the_mean_to_the_mean_of_each():
    torch.manual_seed(3)
    G = stylegan2(c_dim=3)
    found = directions.find_classes(G, 500, seed=2)
    means = np.stack(
        [styles(G, 500, 2, torch.eye(3)[[k]].repeat(500, 1)).mean(0) for k in range(3)]
    )
    for k, name in enumerate(found.names):
        assert name == f"class{k}"
        offset = found.offset(name, 1, G.num_ws)
        assert offset.shape == (G.num_ws, 8)
        np.testing.assert_allclose(offset[2], means[k] - means.mean(axis=0), atol=1e-5)
    with pytest.raises(InputError, match="has no classes"):
        directions.find_classes(stylegan2(), 500)


def test_labels_are_told_apart_along_their_direction():
    pytest.importorskip("sklearn")
    torch.manual_seed(3)
    G = stylegan2()
    seeds = list(range(200))
    z = latents.z_from_seeds(seeds, 8).float()
    with torch.no_grad():
        ws = G.mapping(z, torch.zeros([200, 0]))[:, 0].double().numpy()
    truth = np.random.RandomState(0).randn(8)
    is_high = (ws - ws.mean(axis=0)) @ truth > 0
    found = directions.find_labels(
        G, dict(zip(seeds, np.where(is_high, "high", "low"), strict=True))
    )
    assert found.names == ("high", "low")
    along = (ws - ws.mean(axis=0)) @ found.vectors[0, 0]
    assert ((along > np.median(along)) == is_high).mean() > 0.9
    np.testing.assert_allclose(found.scales[0], along.std(), rtol=1e-5)
    with pytest.raises(InputError, match="1 different labels; a direction needs two"):
        directions.find_labels(G, {0: "a", 1: "a"})


def test_pictures_differ_by_their_means():
    rng = np.random.RandomState(0)
    a, b = (torch.from_numpy(rng.randn(num, 5, 4)).float() for num in (3, 2))
    found = directions.find_difference(a, b, "glasses")
    np.testing.assert_allclose(found.offset("glasses", 1, 5), b.mean(0) - a.mean(0), atol=1e-6)
    same = directions.find_difference(a[:, :1].repeat(1, 5, 1), b[:, :1].repeat(1, 5, 1))
    assert same.vectors.shape == (1, 1, 4)
    with pytest.raises(InputError, match="two means are equal"):
        directions.find_difference(a, a)


def test_files_come_back_and_bad_ones_are_refused(tmp_path):
    given = Directions(
        np.eye(4, dtype=np.float32)[:2, None], np.array([2.0, 3]), ("a", "b"), "by hand"
    )
    directions.save(tmp_path / "d.npz", given)
    found = directions.load(tmp_path / "d.npz")
    np.testing.assert_array_equal(found.vectors, given.vectors)
    assert (found.names, found.method, list(found.scales)) == (("a", "b"), "by hand", [2, 3])
    assert torch.equal(found.offset("b", -2, 3), torch.tensor([[0.0, -6, 0, 0]]).repeat(3, 1))
    with pytest.raises(InputError, match="there is no direction 'c'; there are: a, b"):
        found.offset("c", 1, 3)
    np.savez(tmp_path / "d.npz", directions=np.eye(4)[None])
    assert directions.load(tmp_path / "d.npz").names == ("0",)
    with pytest.raises(InputError, match=r"--direction: directions have shape \[1, 4, 4\]"):
        directions.check(directions.load(tmp_path / "d.npz"), stylegan2(), "--direction")
    for arrays, message in (
        (dict(w=np.eye(4)), "has no array 'directions'"),
        (dict(directions=np.eye(4)), "must be finite floating-point numbers"),
        (dict(directions=np.full([1, 1, 4], np.nan)), "must be finite"),
        (
            dict(directions=np.zeros([2, 1, 4]), names=np.array(["a"])),
            "as many as the 2 directions",
        ),
    ):
        np.savez(tmp_path / "d.npz", **arrays)
        with pytest.raises(InputError, match=message):
            directions.load(tmp_path / "d.npz")


@pytest.mark.parametrize("reach", [[1.0, 2.0], np.nan, np.inf, 0, -1, "far", []])
def test_a_reach_that_is_no_length_is_refused(reach, tmp_path):
    np.savez(tmp_path / "d.npz", directions=np.eye(4)[None], reach=np.array(reach))
    with pytest.raises(InputError, match=r"d\.npz: 'reach' must be one finite number above 0"):
        directions.load(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", directions=np.eye(4)[None], reach=np.array(2))
    assert directions.load(tmp_path / "d.npz").reach == 2


@pytest.mark.parametrize("names", [("a", "a"), ("",), ("a:b",), ("a=1",)])
def test_names_that_no_option_can_name_are_refused(names):
    with pytest.raises(InputError, match="cannot name a direction"):
        Directions(np.ones([len(names), 1, 4]), np.ones(len(names)), names, "")


def test_class_directions_change_the_class_of_drawn_shapes():
    """A classifier that was trained on the network's classes sees the class that was asked for."""
    linear_model = pytest.importorskip("sklearn.linear_model")
    G = load_network("pretrained:shapes-t")["G_ema"]
    num, each = 30, torch.eye(G.c_dim)

    def pictures(ws: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            img = torch.cat([G.synthesis(part) for part in ws.split(30)])
        return torch.nn.functional.avg_pool2d(img, 2).flatten(1).numpy()

    def ws_of(class_idx: int, seeds: range) -> torch.Tensor:
        z = latents.z_from_seeds(seeds, G.z_dim).float()
        with torch.no_grad():
            return G.mapping(z, each[class_idx].expand(len(z), -1))

    examples = np.concatenate([pictures(ws_of(k, range(num))) for k in range(G.c_dim)])
    classifier = linear_model.LogisticRegression(max_iter=300)
    classifier.fit(examples, np.repeat(np.arange(G.c_dim), num))
    found = directions.find_classes(G, 2000)
    for before, after in ((0, 4), (4, 3), (3, 0)):  # disc, star, ring
        ws = ws_of(before, range(1000, 1012))
        way = found.offset(f"class{after}", 1, G.num_ws) - found.offset(
            f"class{before}", 1, G.num_ws
        )
        share = (classifier.predict(pictures(ws)) == after).mean()
        changed = (classifier.predict(pictures(ws + way)) == after).mean()
        assert share < 0.3
        assert changed > 0.7
