import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - its usual name

from howto100m.embedding.model import Net, SentenceMaxpool, _MaxOfRows, load_net
from howto100m.embedding.train import save
from howto100m.kinds import UserError

KEYS = ["text_pooling.fc.weight", "text_pooling.fc.bias"] + [
    f"{unit}.{name}"
    for unit in ("GU_text", "GU_video")
    for name in (
        "fc.weight",
        "fc.bias",
        "cg.fc.weight",
        "cg.fc.bias",
        "cg.batch_norm.weight",
        "cg.batch_norm.bias",
        "cg.batch_norm.running_mean",
        "cg.batch_norm.running_var",
        "cg.batch_norm.num_batches_tracked",
    )
]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return Net(32, video_dim=48, word_dim=12)


@pytest.mark.parametrize(("dim", "size"), [(4096, 68_374_528), (6144, 140_310_528)])
def test_names_shapes_and_numbers_of_the_official_network(dim, size):
    with torch.device("meta"):
        net = Net(dim)
    state = net.state_dict()
    assert sorted(state) == sorted(KEYS)
    assert sum(p.numel() for p in net.parameters()) == size
    assert state["text_pooling.fc.weight"].shape == (dim, 300)
    assert state["GU_text.fc.weight"].shape == (dim, dim)
    assert state["GU_video.fc.weight"].shape == (dim, 4096)
    assert state["GU_video.cg.fc.weight"].shape == (dim, dim)


def test_the_network_is_its_formula(net):
    words, video = torch.randn(5, 7, 12), torch.randn(3, 48)
    state = net.state_dict()

    def linear(x, name):
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    def unit(x, name):
        y = linear(x, f"{name}.fc")
        y = y / (1 + torch.exp(-linear(y, f"{name}.cg.fc")))
        return y / y.square().sum(1, keepdim=True).sqrt()

    pooled = linear(words, "text_pooling.fc").clamp(min=0).max(dim=1).values
    expected = unit(pooled, "GU_text") @ unit(video, "GU_video").T
    assert (net(words, video) - expected).abs().max() < 1e-6


class Unit(nn.Module):
    """A gated unit under the official names, its gate by GLU as the official code has it."""

    def __init__(self, in_dim, dim):
        super().__init__()
        self.fc, self.cg = nn.Linear(in_dim, dim), nn.Module()
        self.cg.fc, self.cg.batch_norm = nn.Linear(dim, dim), nn.BatchNorm1d(dim)

    def forward(self, x):
        y = self.fc(x)
        return F.normalize(F.glu(torch.cat((y, self.cg.fc(y)), 1), 1))


class Official(nn.Module):
    def __init__(self, dim, video_dim, word_dim):
        super().__init__()
        self.text_pooling = nn.Module()
        self.text_pooling.fc = nn.Linear(word_dim, dim)
        self.GU_text, self.GU_video = Unit(dim, dim), Unit(video_dim, dim)

    def forward(self, video, words):
        text = self.text_pooling.fc(words).relu().max(dim=1)[0]
        return self.GU_text(text) @ self.GU_video(video).t()


def test_weights_go_both_ways_between_ours_and_the_official_layout(net, tmp_path):
    torch.manual_seed(3)
    words, video = torch.randn(5, 7, 12), torch.randn(3, 48)
    save(net, tmp_path / "ours.pth")
    official = Official(32, 48, 12)
    official.load_state_dict(torch.load(tmp_path / "ours.pth", weights_only=True))
    assert (official(video, words) - net(words, video)).abs().max() < 1e-6
    theirs = Official(32, 48, 12)
    torch.save(theirs.state_dict(), tmp_path / "theirs.pth")
    loaded = load_net(tmp_path / "theirs.pth", torch.device("cpu"))
    assert (theirs(video, words) - loaded(words, video)).abs().max() < 1e-6
    assert (official(video, words) - theirs(video, words)).abs().max() > 1e-2


def test_padding_takes_part_and_an_empty_caption_pools_to_the_bias(net):
    pooling = net.text_pooling
    assert torch.equal(pooling(torch.zeros(1, 4, 12))[0], pooling.fc.bias.relu())
    padded = pooling(torch.cat([torch.randn(1, 2, 12), torch.zeros(1, 2, 12)], dim=1))[0]
    assert (padded >= pooling.fc.bias.relu()).all()


def test_pooling_distinct_words_is_exact_with_its_gradient():
    torch.manual_seed(1)
    table = torch.randn(9, 12)
    table[0] = 0
    ids = torch.randint(0, 9, (40, 6))
    plain, distinct = SentenceMaxpool(12, 32), SentenceMaxpool(12, 32)
    distinct.load_state_dict(plain.state_dict())
    weights = torch.randn(40, 32)
    expected = plain(table[ids])
    got = distinct.pool_ids(ids, table)
    assert (got - expected).abs().max() < 1e-6
    (expected * weights).sum().backward()
    (got * weights).sum().backward()
    assert (plain.fc.weight.grad - distinct.fc.weight.grad).abs().max() < 1e-4
    assert (plain.fc.bias.grad - distinct.fc.bias.grad).abs().max() < 1e-4


@pytest.mark.parametrize("rows", [9, 70_000])
def test_pooling_in_16_bits_keeps_the_winner(rows):
    torch.manual_seed(2)
    table = torch.randn(rows, 12).relu().bfloat16().requires_grad_()
    places = torch.randint(0, rows, (40, 6))
    best = _MaxOfRows.apply(table, places)
    assert torch.equal(best, table[places].amax(dim=1))
    best.float().pow(2).sum().backward()
    won = torch.zeros_like(table)
    values, first = table[places].max(dim=1)
    won.scatter_add_(0, places.gather(1, first), 2 * values)
    assert torch.allclose(table.grad, won)


def test_pooling_in_16_bits_hides_no_nan():
    rows = torch.ones(5, 12, dtype=torch.bfloat16)
    rows[3, 5] = torch.nan
    found = _MaxOfRows.apply(rows, torch.tensor([[2, 3, 4]]))[0]
    assert found.isnan().nonzero().tolist() == [[5]]


def test_embeddings_have_length_one(net):
    text = net.embed_text(torch.tensor([[1, 2, 0]]), torch.randn(3, 12))
    video = net.embed_video(torch.randn(4, 48))
    assert torch.allclose(text.norm(dim=1), torch.ones(1))
    assert torch.allclose(video.norm(dim=1), torch.ones(4))


def test_a_checkpoint_is_a_plain_state_dict_and_comes_back(net, tmp_path):
    save(net, tmp_path / "a.pt")
    state = torch.load(tmp_path / "a.pt", weights_only=True)
    assert list(state) == list(net.state_dict())
    back = load_net(tmp_path / "a.pt", torch.device("cpu"))
    video = torch.randn(2, 48)
    assert torch.equal(back.embed_video(video), net.embed_video(video))


def test_a_sentence_layer_of_another_width_is_seen_from_the_shapes(tmp_path):
    save(Net(8, video_dim=6, word_dim=5, sentence_dim=4), tmp_path / "a.pt")
    net = load_net(tmp_path / "a.pt", torch.device("cpu"))
    assert net(torch.randn(2, 3, 5), torch.randn(7, 6)).shape == (2, 7)


def test_files_that_are_no_good_checkpoint_are_refused(net, tmp_path):
    with pytest.raises(UserError, match=r"absent\.pt"):
        load_net(tmp_path / "absent.pt", torch.device("cpu"))
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "other.pt")
    with pytest.raises(UserError, match="not a checkpoint of the embedding"):
        load_net(tmp_path / "other.pt", torch.device("cpu"))
    net.GU_text.fc.bias.data[0] = torch.nan
    save(net, tmp_path / "nan.pt")
    with pytest.raises(UserError, match="NaN"):
        load_net(tmp_path / "nan.pt", torch.device("cpu"))
