import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from gensim.models import KeyedVectors

from feature_tables import write_clips
from howto100m.embedding.vocabulary import Vocabulary, build_vocabulary, tokenize
from howto100m.kinds import UserError
from howto100m.shards import read_table

LINES = [
    (0, 4, "cut the onion"),
    (4, 8, "cut Onion don't"),
    (8, 12, "cut onion quickly"),
    (12, 16, "the zucchini"),
]


@pytest.fixture
def clips(tmp_path) -> list[Path]:
    return [
        write_clips(tmp_path / "0.parquet", {"aaa": LINES[:2]}),
        write_clips(tmp_path / "1.parquet", {"bbb": LINES[2:]}),
    ]


def build(
    clips, vectors="train", min_count=1, seed=1, workers=1, fold_case=False
) -> tuple[Vocabulary, dict]:
    output = clips[0].parent / "vocabulary.parquet"
    status = output.with_suffix(".status.parquet")
    build_vocabulary(
        clips,
        output,
        status,
        vectors=str(vectors),
        min_count=min_count,
        seed=seed,
        workers=workers,
        fold_case=fold_case,
    )
    kinds = {row["id"]: (row["kind"], row["message"]) for row in read_table(status).to_pylist()}
    return Vocabulary.load(output), kinds


def write_binary(path: Path, vectors: dict[str, np.ndarray], newline: bytes = b"") -> Path:
    body = b"".join(
        w.encode() + b" " + v.astype("<f4").tobytes() + newline for w, v in vectors.items()
    )
    data = f"{len(vectors)} 300\n".encode() + body
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.fixture
def some() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    words = ["</s>", "cut", "Onion", "onion", "the", "other", "naïve"]
    return {word: random.normal(size=300).astype(np.float32) for word in words}


def test_words_are_cut_as_officially():
    assert tokenize("Don't stop, it's 3_4-x!") == ["Don't", "stop", "it's", "3_4", "x"]
    assert tokenize(" ... ") == []


def test_words_stand_by_count_then_alphabet(clips):
    words, kinds = build(clips)
    assert words.ids == {
        "cut": 1,
        "onion": 2,
        "the": 3,
        "Onion": 4,
        "don't": 5,
        "quickly": 6,
        "zucchini": 7,
    }
    assert words.vectors.shape == (8, 300)
    assert not words.vectors[0].any()
    assert words.vectors[1:].any(axis=1).all()
    assert set(kinds) == set(words.ids)


def test_rare_words_are_skipped_and_say_why(clips):
    words, kinds = build(clips, min_count=2)
    assert list(words.ids) == ["cut", "onion", "the"]
    assert kinds["Onion"] == ("no_vector", "occurs 1 times, fewer than 2")
    with pytest.raises(UserError, match="min_count"):
        build(clips, min_count=4)


def test_encoding_drops_unknown_words_before_the_cut(clips):
    words, _ = build(clips, min_count=2)
    assert words.encode("Please cut quickly the big onion", 2) == [1, 3]
    assert words.encode("nothing known", 5) == []


@pytest.mark.parametrize("name", ["v.bin", "v.bin.gz"])
@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_word2vecs_binary_form(clips, some, tmp_path, name, newline):
    words, kinds = build(clips, write_binary(tmp_path / name, some, newline))
    assert list(words.ids) == ["cut", "onion", "the", "Onion"]
    for word, row in words.ids.items():
        assert np.array_equal(words.vectors[row], some[word])
    assert kinds["zucchini"] == ("no_vector", "not among the vectors")


def test_gensims_own_form_and_the_text_form(clips, some, tmp_path):
    vectors = KeyedVectors(300)
    vectors.add_vectors(list(some), list(some.values()))
    vectors.save(str(tmp_path / "v.kv"))
    vectors.save_word2vec_format(str(tmp_path / "v.txt"))
    for name in ("v.kv", "v.txt"):
        words, _ = build(clips, tmp_path / name)
        assert list(words.ids) == ["cut", "onion", "the", "Onion"]
        assert np.allclose(words.vectors[1], some["cut"], atol=1e-6)


def test_case_tells_words_apart_unless_it_is_folded(clips, some, tmp_path):
    path = write_binary(tmp_path / "v.bin", some)
    kept, _ = build(clips, path)
    assert kept.ids["Onion"] != kept.ids["onion"]
    assert kept.encode("CUT Onion", 9) == [kept.ids["Onion"]]
    folded, kinds = build(clips, path, fold_case=True)
    assert list(folded.ids) == ["cut", "onion", "the"]
    assert np.array_equal(folded.vectors[folded.ids["onion"]], some["onion"])
    assert folded.encode("CUT Onion", 9) == [folded.ids["cut"], folded.ids["onion"]]
    assert "Onion" not in kinds


def test_a_folded_word_takes_the_first_vector_of_another_case(clips, some, tmp_path):
    entries = {"THE": some["other"], "The": some["cut"], "Onion": some["Onion"]}
    folded, _ = build(clips, write_binary(tmp_path / "v.bin", entries), fold_case=True)
    assert np.array_equal(folded.vectors[folded.ids["the"]], some["other"])
    entries |= {"the": some["the"], "ONION": some["cut"]}
    folded, _ = build(clips, write_binary(tmp_path / "v.bin", entries), fold_case=True)
    assert np.array_equal(folded.vectors[folded.ids["the"]], some["the"])
    assert np.array_equal(folded.vectors[folded.ids["onion"]], some["Onion"])


def test_trained_vectors_can_fold_case_too(clips):
    folded, _ = build(clips, fold_case=True)
    assert "Onion" not in folded.ids
    assert folded.vectors.any(axis=1)[1:].all()


@pytest.mark.parametrize("whole_network", [False, True])
@pytest.mark.parametrize("name", ["dict.npy", "s3d_dict.npy"])
def test_the_mil_nce_authors_vectors(clips, some, tmp_path, whole_network, name):
    rows = torch.from_numpy(np.stack([np.zeros(300, np.float32), *some.values()]))
    state = {"text_module.word_embd.weight": rows, "fc.bias": torch.ones(1)}
    torch.save(state if whole_network else rows, tmp_path / "word2vec.pth")
    with pytest.raises(UserError, match=r"word2vec\.pth needs its words beside it"):
        build(clips, tmp_path / "word2vec.pth")
    np.save(tmp_path / name, np.array(list(some)))
    words, _ = build(clips, tmp_path / "word2vec.pth")
    assert list(words.ids) == ["cut", "onion", "the", "Onion"]
    for word, row in words.ids.items():
        assert np.array_equal(words.vectors[row], some[word])
    np.save(tmp_path / name, np.array([*some, "more"]))
    with pytest.raises(
        UserError, match=r"word2vec\.pth holds no whole table .* 8 rows, but 8 words"
    ):
        build(clips, tmp_path / "word2vec.pth")


def test_a_file_of_many_pieces_is_read_word_by_word(clips, some, tmp_path):
    filler = {f"filler{i}": some["other"] for i in range(3000)}
    path = write_binary(tmp_path / "v.bin", filler | some | {"cut ": some["the"]})
    words, _ = build(clips, path)
    assert words.vectors[words.ids["cut"]].tolist() == some["cut"].tolist()
    assert list(words.ids) == ["cut", "onion", "the", "Onion"]
    assert words.vectors.base is None or words.vectors.base.nbytes < 100_000


def test_damaged_and_missing_files_are_named(clips, some, tmp_path):
    whole = write_binary(tmp_path / "v.bin", some).read_bytes()
    (tmp_path / "cut.bin").write_bytes(whole[:-7])
    (tmp_path / "cut.bin.gz").write_bytes(gzip.compress(whole)[:-20])
    (tmp_path / "noise.bin").write_bytes(os.urandom(100))
    (tmp_path / "noise.kv").write_bytes(os.urandom(100))
    (tmp_path / "page.bin.gz").write_bytes(b"<html>not found</html>")
    (tmp_path / "blank.bin").write_bytes(b"9 300\n" + b"x" * 9000)
    (tmp_path / "noise.pth").write_bytes(os.urandom(100))
    np.save(tmp_path / "dict.npy", np.array(["cut"]))
    write_binary(tmp_path / "nan.bin", some | {"cut": np.full(300, np.nan)})
    names = ["cut.bin", "cut.bin.gz", "noise.bin", "noise.kv", "page.bin.gz", "blank.bin"]
    for name in [*names, "noise.pth", "nan.bin"]:
        with pytest.raises(UserError, match=f"{name} holds no whole table"):
            build(clips, tmp_path / name)
    with pytest.raises(UserError, match=r"absent\.bin do not exist"):
        build(clips, tmp_path / "absent.bin")
    (tmp_path / "narrow.bin").write_bytes(b"1 4\ncut " + struct.pack("<4f", 1, 2, 3, 4))
    with pytest.raises(UserError, match="word vectors of 4 numbers"):
        build(clips, tmp_path / "narrow.bin")
    with pytest.raises(UserError, match="for none of the"):
        build(clips, write_binary(tmp_path / "far.bin", {"far": some["cut"]}))


def test_counting_in_processes_gives_the_same(clips):
    assert build(clips, workers=2)[0].ids == build(clips)[0].ids


TRAINING = """
import sys
from pathlib import Path
from howto100m.embedding.vocabulary import build_vocabulary
build_vocabulary([Path(sys.argv[1])], Path(sys.argv[2]), Path(sys.argv[2] + ".status"),
                 vectors="train", min_count=1, seed=int(sys.argv[3]), workers=1)
"""


@pytest.mark.heavy
def test_training_is_the_same_in_every_process(clips, tmp_path):
    def trained(name: str, hash_seed: str, seed: str) -> bytes:
        output = str(tmp_path / name)
        command = [sys.executable, "-c", TRAINING, str(clips[0]), output, seed]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": hash_seed})
        return Path(output).read_bytes()

    first = trained("a", "1", "7")
    assert first == trained("b", "2", "7")
    assert first != trained("c", "1", "8")


def test_trained_words_used_alike_lie_near_each_other(tmp_path):
    random = np.random.default_rng(0)
    kitchen, garage = ["pan", "oil", "onion", "stir"], ["wheel", "bolt", "wrench", "jack"]
    videos = {
        f"v{i}": [(j, j + 1, " ".join(random.choice(topic, 4))) for j in range(10)]
        for i, topic in enumerate([kitchen, garage] * 20)
    }
    words, _ = build([write_clips(tmp_path / "0.parquet", videos)])
    vectors = words.vectors / np.maximum(np.linalg.norm(words.vectors, axis=1), 1e-9)[:, None]
    pan, oil, bolt = (vectors[words.ids[w]] for w in ("pan", "oil", "bolt"))
    assert pan @ oil > 0.5 > 0 > pan @ bolt
    assert np.linalg.norm(words.vectors[1:], axis=1).mean() == pytest.approx(2)
