import gzip
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
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


def build(clips, vectors="train", min_count=1, seed=1, workers=1) -> tuple[Vocabulary, dict]:
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


def test_damaged_and_missing_files_are_named(clips, some, tmp_path):
    whole = write_binary(tmp_path / "v.bin", some).read_bytes()
    (tmp_path / "cut.bin").write_bytes(whole[:-7])
    (tmp_path / "cut.bin.gz").write_bytes(gzip.compress(whole)[:-20])
    (tmp_path / "noise.bin").write_bytes(os.urandom(100))
    (tmp_path / "noise.kv").write_bytes(os.urandom(100))
    (tmp_path / "page.bin.gz").write_bytes(b"<html>not found</html>")
    for name in ("cut.bin", "cut.bin.gz", "noise.bin", "noise.kv", "page.bin.gz"):
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
