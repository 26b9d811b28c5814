"""Starting from trained weights: copies, reports and refusals."""

import pytest
import torch

from training import transfer
from training.config import TrainOptions, make_config
from training.networks_stylegan2 import Discriminator, Generator
from training.networks_stylegan3 import Generator as Generator3
from training.networks_stylegan3 import SynthesisInput

OPTIONS = dict(cbase=128, cmax=8, map_depth=2)


def network(
    key: str = "G",
    cfg: str = "stylegan2",
    size: int = 16,
    channels: int = 3,
    c_dim: int = 0,
    **options,
) -> torch.nn.Module:
    """A network as `train.py` makes it with these options."""
    options = TrainOptions(cfg=cfg, gpus=1, batch=8, gamma=1, **{**OPTIONS, **options})
    config = make_config(options, dict(use_labels=c_dim > 0))
    kwargs = dict(config.G_kwargs if key == "G" else config.D_kwargs)
    class_name = kwargs.pop("class_name")
    cls = {"G": Generator3 if "stylegan3" in class_name else Generator, "D": Discriminator}[key]
    return cls(**kwargs, c_dim=c_dim, img_resolution=size, img_channels=channels)


@pytest.mark.parametrize("cfg", ["stylegan2", "stylegan3-t", "stylegan3-r"])
@pytest.mark.parametrize("key", ["G", "D"])
def test_same_options_copy_everything(cfg, key):
    found, net = network(key, cfg), network(key, cfg)
    transfer.check(found, net)
    assert transfer.copy(found, net) == []
    torch.testing.assert_close(net.state_dict(), found.state_dict(), rtol=0, atol=0)
    num = len(found.state_dict())
    assert transfer.table("G", net, []) == f"G: all {num} tensors copied"


@pytest.mark.parametrize(
    ("cfg", "other", "named"),
    [
        ("stylegan2", dict(cbase=64), "--cbase=64"),
        ("stylegan3-t", dict(cbase=64), "--cbase=64"),
        ("stylegan3-r", dict(cbase=64, cmax=4), "--cbase=64 --cmax=4"),
        ("stylegan2", dict(cmax=4), "--cmax=4"),
        ("stylegan3-r", dict(map_depth=3), "--map-depth=3"),
        ("stylegan3-t", dict(cfg="stylegan3-r"), "--cfg=stylegan3-r"),
        ("stylegan3-r", dict(cfg="stylegan3-t"), "--cfg=stylegan3-t"),
        ("stylegan2", dict(cfg="stylegan3-t"), "--cfg=stylegan3-t"),
        ("stylegan3-r", dict(cfg="stylegan2"), "--cfg=stylegan2"),
    ],
)
def test_other_options_are_named(cfg, other, named):
    with pytest.raises(ValueError, match=f"--resume: .*trained with {named}; use the same"):
        transfer.check(network(**{"cfg": cfg, **other}), network(cfg=cfg))


def test_other_capacity_of_the_discriminator_is_named():
    with pytest.raises(ValueError, match="trained with --d-cbase=64 --d-cmax=4; use the same"):
        transfer.check(network("D", cbase=64, cmax=4), network("D"))
    found = network("D", cbase=64, cmax=4)
    transfer.check(found, network("D", d_cbase=64, d_cmax=4))


@pytest.mark.parametrize("cfg", ["stylegan2", "stylegan3-t"])
def test_other_resolution_is_refused_with_the_way_out(cfg):
    with pytest.raises(ValueError, match=r"images of 16x16, those of --data are 32x32; dataset_to"):
        transfer.check(network(cfg=cfg), network(cfg=cfg, size=32))


def leftovers(key: str, found: dict, run: dict, cfg: str = "stylegan2") -> dict:
    """Copying between networks that differ in labels or colours leaves out some tensors."""
    source, net = network(key, cfg, **found), network(key, cfg, **run)
    transfer.check(source, net)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    rows = transfer.copy(source, net)
    names = {row.name for row in rows}
    for name, tensor in net.state_dict().items():
        if key == "G" and name == transfer.LATENT_LAYER and name in names:
            continue  # see test_latents_have_the_same_effect_with_and_without_labels
        expected = before if name in names else source.state_dict()
        assert torch.equal(tensor, expected[name])
    return {row.name: (row.in_file, row.in_run) for row in rows}


def test_labels_leave_the_embedding_out():
    assert leftovers("G", dict(c_dim=0), dict(c_dim=5)) == {
        "mapping.embed.weight": (None, [512, 5]),
        "mapping.embed.bias": (None, [512]),
        "mapping.fc0.weight": ([512, 512], [512, 1024]),
    }
    assert leftovers("G", dict(c_dim=3), dict(c_dim=5)) == {
        "mapping.embed.weight": ([512, 3], [512, 5]),
    }
    assert leftovers("D", dict(c_dim=3), dict(c_dim=5)) == {
        "mapping.embed.weight": ([8, 3], [8, 5])
    }


@pytest.mark.parametrize(("found_c", "run_c"), [(0, 5), (5, 0)])
def test_latents_have_the_same_effect_with_and_without_labels(found_c, run_c):
    found, net = network(c_dim=found_c), network(c_dim=run_c)
    before = net.mapping.fc0.weight.clone()
    transfer.copy(found, net)
    z = torch.randn([3, 512])
    effects = [
        (z * layer.weight_gain) @ layer.weight[:, :512].t()
        for layer in (found.mapping.fc0, net.mapping.fc0)
    ]
    torch.testing.assert_close(*effects)
    assert torch.equal(net.mapping.fc0.weight[:, 512:], before[:, 512:])  # for labels: as drawn


def test_another_depth_of_the_label_mapping_leaves_its_other_layers_out():
    got = leftovers("D", dict(c_dim=3, d_map_depth=4), dict(c_dim=3, d_map_depth=2))
    layers = [f"mapping.fc{idx}.{name}" for idx in (2, 3) for name in ("bias", "weight")]
    assert got == {name: ([8, 8] if name.endswith("weight") else [8], None) for name in layers}
    assert set(leftovers("D", dict(c_dim=3), dict(c_dim=3, d_map_depth=7))) == {
        "mapping.fc7.weight",
        "mapping.fc7.bias",
    }


def test_colours_leave_the_layers_of_images_out():
    got = leftovers("G", dict(channels=3), dict(channels=1))
    assert set(got) == {
        f"synthesis.b{res}.torgb.{name}" for res in (4, 8, 16) for name in ("weight", "bias")
    }
    got = leftovers("D", dict(channels=1), dict(channels=4))
    assert got == {"b16.fromrgb.weight": ([8, 1, 1, 1], [8, 4, 1, 1])}
    # The name of StyleGAN3's last layer contains the number of channels.
    got = leftovers("G", dict(channels=3), dict(channels=1), cfg="stylegan3-t")
    assert {name.split(".")[1] for name in got} == {"L14_16_3", "L14_16_1"}


def test_table_shows_what_was_left_out():
    source, net = network(c_dim=0), network(c_dim=5)
    lines = transfer.table("G_ema", net, transfer.copy(source, net)).splitlines()
    num = len(net.state_dict())
    assert lines == [
        f"G_ema: {num - 3} of {num} tensors copied",
        "  not copied            in the file  in this run",
        "  mapping.embed.weight  -            [512, 5]     starts from scratch",
        "  mapping.embed.bias    -            [512]        starts from scratch",
        "  mapping.fc0.weight    [512, 512]   [512, 1024]  copied for latents",
    ]


def test_table_names_what_only_the_file_has():
    source, net = network(c_dim=5), network(c_dim=0)
    text = transfer.table("G", net, transfer.copy(source, net))
    assert "mapping.embed.bias    [512]        -            left out" in text


def test_other_differences_are_refused():
    found, net = network(cfg="stylegan3-t"), network(cfg="stylegan3-t")
    found.synthesis.input = SynthesisInput(512, 4, [36, 36], 16, 2)
    with pytest.raises(ValueError, match=r"3 tensors do not fit: synthesis.input.\w+ is \[4"):
        transfer.check(found, net)
