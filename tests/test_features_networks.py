"""Both networks: shapes, official names, and weights files that fit or are refused by name."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from howto100m.features import resnet152, resnext101
from howto100m.features.networks import Extractor
from howto100m.kinds import UserError


@pytest.fixture(scope="module")
def clips_network() -> Extractor:
    torch.manual_seed(0)
    return resnext101.build().eval()


@pytest.fixture(scope="module")
def official(clips_network: Extractor, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnext101.pth"
    torch.save(clips_network.net.state_dict(), path)
    return path


def test_resnext_has_the_official_entries(clips_network: Extractor) -> None:
    state = clips_network.net.state_dict()
    assert len(state) == 626
    assert sum(p.numel() for p in clips_network.net.parameters()) == 48_340_816
    shapes = {
        "conv1.weight": (64, 3, 7, 7, 7),
        "layer1.0.conv2.weight": (128, 4, 3, 3, 3),
        "layer2.0.downsample.0.weight": (512, 256, 1, 1, 1),
        "layer3.22.bn3.running_var": (1024,),
        "layer4.2.conv3.weight": (2048, 1024, 1, 1, 1),
        "fc.weight": (400, 2048),
    }
    assert {name: tuple(state[name].shape) for name in shapes} == shapes


def test_resnext_maps_have_the_official_sizes(clips_network: Extractor) -> None:
    seen = {}
    hooks = [
        layer.register_forward_hook(
            lambda _, __, out, name=name: seen.update({name: tuple(out.shape[1:])})
        )
        for name, layer in clips_network.net.named_children()
    ]
    with torch.no_grad():
        vectors = clips_network(torch.zeros(2, *resnext101.ROW, dtype=torch.uint8))
    for hook in hooks:
        hook.remove()
    assert vectors.shape == (2, 2048)
    assert vectors.dtype == torch.float32
    assert seen["conv1"] == (64, 16, 56, 56)
    assert seen["maxpool"] == (64, 8, 28, 28)
    assert seen["layer1"] == (256, 8, 28, 28)
    assert seen["layer2"] == (512, 4, 14, 14)
    assert seen["layer3"] == (1024, 2, 7, 7)
    assert seen["layer4"] == (2048, 1, 4, 4)
    assert "fc" not in seen


def test_resnext_takes_only_clips_of_16_frames(clips_network: Extractor) -> None:
    with pytest.raises(ValueError, match="15, 112, 112"):
        clips_network(torch.zeros(1, 15, 112, 112, 3, dtype=torch.uint8))


def test_padding_is_minus_the_mean(clips_network: Extractor) -> None:
    clip = torch.full((1, *resnext101.ROW), 200, dtype=torch.uint8)
    clip[:, 4:] = 0
    x = clips_network.normalise(clip)
    assert x.shape == (1, 3, 16, 112, 112)
    torch.testing.assert_close(x[0, :, 4, 0, 0], torch.tensor([-110.6, -103.2, -96.3]))
    torch.testing.assert_close(x[0, :, 3, 0, 0], torch.tensor([89.4, 96.8, 103.7]))


def test_frames_are_normalised_as_imagenet() -> None:
    network = Extractor(nn.Identity(), resnet152.MEAN, resnet152.STD, scale=255.0)
    x = network.normalise(torch.tensor([0, 128, 255], dtype=torch.uint8).expand(1, 2, 5, 3))
    assert x.shape == (1, 3, 2, 5)
    expected = [(0 - 0.485) / 0.229, (128 / 255 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    torch.testing.assert_close(x[0, :, 1, 4], torch.tensor(expected))


def test_resnet_pools_torchvisions_last_map() -> None:
    network = resnet152.build().eval()
    frames = torch.randint(0, 256, (1, 70, 101, 3), dtype=torch.uint8)
    known = nn.Sequential(*list(network.net.children())[:-2])
    with torch.no_grad():
        torch.testing.assert_close(network(frames), known(network.normalise(frames)).mean((2, 3)))


def same(network: Extractor, other: Extractor) -> bool:
    a, b = network.net.state_dict(), other.net.state_dict()
    return all(torch.equal(a[name], b[name]) for name in a)


def altered(official: Path, path: Path, change: str) -> Path:
    state: dict[str, Tensor] = torch.load(official, weights_only=True)
    if change == "old":
        state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
        assert len(state) == 522
    content = {
        "hara": {
            "epoch": 7,
            "arch": "resnext-101",
            "state_dict": {f"module.{k}": v for k, v in state.items()},
            "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]},
        }
    }.get(change, state)
    torch.save(content, path)
    return path


@pytest.mark.parametrize("change", ["", "old", "hara"])
def test_official_layouts_load(
    official: Path, clips_network: Extractor, tmp_path: Path, change: str
) -> None:
    loaded = resnext101.load(altered(official, tmp_path / "w.pth", change), (1.0, 2.0, 3.0))
    assert same(loaded, clips_network)
    assert not loaded.training
    assert loaded.mean.tolist() == [1.0, 2.0, 3.0]


def test_wrong_weights_are_named(official: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ResNet-152") as error:
        resnet152.load(official)
    text = str(error.value)
    assert "missing (layer2.4.conv1.weight, " in text
    assert "of another shape (conv1.weight, " in text
    assert "\n" not in text

    state = torch.load(official, weights_only=True)
    state["head.weight"] = state.pop("layer2.0.bn1.bias")
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError) as error:
        resnext101.load(tmp_path / "w.pth")
    assert "1 missing (layer2.0.bn1.bias); 1 surplus (head.weight)" in str(error.value)


def test_files_that_hold_no_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        resnet152.load(tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("<html>gone</html>")
    with pytest.raises(UserError, match=r"text\.pth is not a PyTorch weights file"):
        resnet152.load(tmp_path / "text.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    with pytest.raises(UserError, match="holds no state dict"):
        resnet152.load(tmp_path / "list.pth")


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("sprung"),))


def test_code_in_a_file_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"conv1.weight": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(UserError, match="not a PyTorch weights file"):
        resnext101.load(tmp_path / "trap.pth")
    assert not (tmp_path / "sprung").exists()
