"""Made-up files of the four benchmarks, in the official layouts, through `howto100m evaluate`.

Every figure is computed a second time here, by plain loops over the definitions.
"""

import pickle
import re
from itertools import combinations
from math import ceil, floor
from pathlib import Path
from statistics import fmean, median

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from feature_tables import write_features, write_vocabulary
from howto100m.cli import app
from howto100m.embedding.model import Net
from howto100m.evaluation.pickles import read_pickle, read_tensors
from howto100m.evaluation.published import in_order, published, task_sources
from howto100m.evaluation.questions import from_official
from howto100m.features.pairs import RATE_2D, RATE_3D
from howto100m.kinds import UserError
from howto100m.shards import read_table

WORDS = "cut the onion then fry it Pan slice bread and eat pour milk open close door".split()
RANDOM = np.random.default_rng(7)
LIST = "MSRVTT_JSFUSION_test.csv"


def sentence(words: int) -> str:
    return " ".join(RANDOM.choice([*WORDS, "unheard-of", "pan"], words))


def halves() -> tuple[np.ndarray, np.ndarray]:
    return RANDOM.random(2048, np.float32) * 9, RANDOM.random(2048, np.float32)


@pytest.fixture
def model(tmp_path: Path) -> tuple[list[str], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Flags of a checkpoint and of GoogleNews's form of word vectors; the weights; the vectors."""
    torch.manual_seed(0)
    torch.save(Net(16).state_dict(), tmp_path / "official.pth")
    vectors = {word: RANDOM.normal(size=300).astype("<f4") for word in WORDS}
    content = f"{len(WORDS)} 300\n".encode()
    content += b"".join(word.encode() + b" " + v.tobytes() + b"\n" for word, v in vectors.items())
    (tmp_path / "news.bin").write_bytes(content)
    state = {k: v.numpy() for k, v in torch.load(tmp_path / "official.pth").items()}
    flags = [
        "--checkpoint",
        str(tmp_path / "official.pth"),
        "--vectors",
        str(tmp_path / "news.bin"),
    ]
    return flags, state, vectors


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x.astype(float) ** 2).sum())


def gate(state: dict[str, np.ndarray], name: str, x: np.ndarray) -> np.ndarray:
    y = state[f"{name}.fc.weight"] @ x + state[f"{name}.fc.bias"]
    z = state[f"{name}.cg.fc.weight"] @ y + state[f"{name}.cg.fc.bias"]
    return y / (1 + np.exp(-z))


def embed_text(model, text: str) -> np.ndarray:
    _, state, vectors = model
    rows = [vectors[w] for w in re.findall(r"[\w']+", text) if w in vectors][:20]
    rows += [np.zeros(300)] * (20 - len(rows))
    weight, bias = state["text_pooling.fc.weight"], state["text_pooling.fc.bias"]
    return gate(state, "GU_text", np.max([np.maximum(weight @ r + bias, 0) for r in rows], axis=0))


def embed_video(model, pair: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return gate(model[1], "GU_video", np.concatenate([unit(half) for half in pair]))


def retrieval_figures(
    model, queries: list[tuple[str, tuple]], dot: bool = False
) -> dict[str, float]:
    scale = (lambda x: x) if dot else unit
    clips = [scale(embed_video(model, pair)) for _, pair in queries]
    ranks = []
    for n, (text, _) in enumerate(queries):
        asked = scale(embed_text(model, text))
        ranks.append(1 + sum(asked @ clip > asked @ clips[n] for clip in clips))
    shares = {f"R@{k}": fmean(rank <= k for rank in ranks) for k in (1, 5, 10)}
    return shares | {"median_rank": median(ranks)}


def run(model, tmp_path: Path, benchmark: str, *more: str) -> tuple[str, list[dict]]:
    """What the command says, and its figures."""
    flags = ["--benchmark", benchmark, "--data", str(tmp_path), "--output", str(tmp_path / "out")]
    answer = CliRunner().invoke(app, ["evaluate", *model[0], *flags, *more])
    assert answer.exit_code == 0, answer.output + repr(answer.exception)
    return answer.output, read_table(tmp_path / "out" / "metrics.parquet").to_pylist()


def check(rows: list[dict], expected: dict[str, float], items: int, missing: int) -> None:
    assert {row["metric"]: row["value"] for row in rows} == pytest.approx(expected)
    assert {(row["items"], row["missing"]) for row in rows} == {(items, missing)}


def write_msrvtt(folder: Path) -> list[tuple[str, tuple]]:
    """40 clips; two have the same sentence, one is missing from the features' file."""
    lines, queries = ["key,vid_key,video_id,sentence"], []
    features: dict[str, dict[str, torch.Tensor]] = {"2d": {}, "3d": {}}
    for n in range(40):
        text, pair = queries[0][0] if n == 1 else sentence(3 + n % 30), halves()
        lines.append(f'ret{n},msr{n},video{n},"{text}"')
        if n == 5:
            continue
        features["2d"][f"video{n}"], features["3d"][f"video{n}"] = map(torch.from_numpy, pair)
        queries.append((text, pair))
    (folder / LIST).write_text("\n".join(lines) + "\n")
    torch.save(features, folder / "MSRVTT_JSFUSION_test.pth")
    return queries


def test_msrvtt(model, tmp_path):
    queries = write_msrvtt(tmp_path)
    said, rows = run(model, tmp_path, "msrvtt")
    check(rows, retrieval_figures(model, queries), 39, 1)
    assert "retrieval, ties mean; 39 items, 1 more are missing" in said
    assert re.search(r"the paper \(HowTo100M\), .* 0\.0750 +0\.2120 +0\.2960 +38 .*table 6", said)
    status = read_table(tmp_path / "out" / "status.parquet").to_pylist()
    assert {row["id"]: row["kind"] for row in status}["video5"] == "no_features"
    assert len(status) == 40


def test_plain_dot_products_for_what_mil_nce_trained(model, tmp_path):
    queries = write_msrvtt(tmp_path)
    said, rows = run(model, tmp_path, "msrvtt", "--similarity", "dot")
    check(rows, retrieval_figures(model, queries, dot=True), 39, 1)
    assert retrieval_figures(model, queries, dot=True) != retrieval_figures(model, queries)
    assert "retrieval, ties mean, dot product; 39 items" in said


def test_msrvtts_list_with_features_of_our_own(model, tmp_path):
    """Whole videos: the maximum over all rows. Two of the 40 videos are gone."""
    write_msrvtt(tmp_path)
    tables: dict[str, dict[str, np.ndarray]] = {"2d": {}, "3d": {}}
    queries = []
    lines = (tmp_path / LIST).read_text().splitlines()[1:]
    for n, line in enumerate(lines[:-2]):
        seconds = 1 + n % 4
        rows = [RANDOM.random((rows, 2048), np.float32) for rows in (seconds, ceil(seconds * 1.5))]
        tables["2d"][f"video{n}"], tables["3d"][f"video{n}"] = rows
        pair = tuple(r.astype(np.float16).astype(np.float32).max(axis=0) for r in rows)
        queries.append((line.split('"')[1], pair))
    flags = []
    for name, rate in (("2d", RATE_2D), ("3d", RATE_3D)):
        write_features(tmp_path / f"{name}.parquet", tables[name], rate)
        flags += [f"--features-{name}", str(tmp_path / f"{name}.parquet")]
    _, rows = run(model, tmp_path, "msrvtt", *flags)
    check(rows, retrieval_figures(model, queries), 38, 2)


@pytest.mark.parametrize("protocol", [2, 5])
def test_youcook2(model, tmp_path, protocol):
    entries, queries = [], []
    for n in range(25):
        pair, text = halves(), sentence(2 + n % 5)
        entries.append(
            {"2d": pair[0], "3d": pair[1], "caption": text, "id": f"abc-_{n // 5}_{n % 5}"}
        )
        queries.append((text, pair))
    entries[3]["3d"] = entries[3]["3d"][:100]
    del queries[3]
    (tmp_path / "youcook_val.pkl").write_bytes(pickle.dumps(entries, protocol))
    said, rows = run(model, tmp_path, "youcook2")
    check(rows, retrieval_figures(model, queries), 24, 1)
    assert "HowTo100M, then YouCook2" in said
    status = read_table(tmp_path / "out" / "status.parquet").to_pylist()
    assert status[3]["kind"] == "corrupt" and "2048 and 100 numbers" in status[3]["message"]


def test_lsmdc(model, tmp_path):
    lines, queries = [], []
    features: dict[str, dict[str, torch.Tensor]] = {"2d": {}, "3d": {}}
    for n in range(20):
        text, pair, name = sentence(4), halves(), f"10{n}_Film_00.0{n}-00.1{n}"
        lines.append("\t".join([name, "00:01", "00:02", "00:01", "00:03", text]))
        features["2d"][name], features["3d"][name] = map(torch.from_numpy, pair)
        queries.append((text, pair))
    (tmp_path / "LSMDC16_challenge_1000_publictect.csv").write_text("\n".join(lines))
    torch.save(features, tmp_path / "LSMDC_test.pth")
    _, rows = run(model, tmp_path, "lsmdc")
    check(rows, retrieval_figures(model, queries), 20, 0)


TASKS = {
    "105222": ("Make Kimchi Fried Rice", "cut onion,fry it,eat"),
    "16815": ("Jack Up", "open door,close door"),
}


def write_crosstask(folder: Path) -> dict[tuple[str, str], tuple]:
    """Two tasks, five videos; one has fewer seconds than steps, one as many, one no features."""
    blocks = [
        f"{t}\n{name}\nurl\n{steps.count(',') + 1}\n{steps}\n" for t, (name, steps) in TASKS.items()
    ]
    (folder / "tasks_primary.txt").write_text("\n".join(blocks))
    (folder / "tasks_related.txt").write_text("7\nRest\nurl\n1\nsleep\n")
    videos = [
        ("105222", "aaaaaaaaaaa", 8),
        ("105222", "bbbbbbbbbbb", 2),
        ("105222", "ccccccccccc", 3),
    ]
    videos += [
        ("16815", "ddddddddddd", 6),
        ("16815", "eeeeeeeeeee", 0),
        ("16815", "validation1", 5),
    ]
    (folder / "videos.csv").write_text(
        "".join(f"{t},{v},url\n" for t, v, _ in videos) + "7,fffffffffff,url\n"
    )
    (folder / "videos_val.csv").write_text("16815,validation1,url\n")
    for name in ("annotations", "constraints", "features_2d", "features_3d"):
        (folder / name).mkdir()
    made = {}
    for task, video, seconds in videos:
        steps = TASKS[task][1].split(",")
        spans = [(1, 0.4, 2.2), (2, 3.0, 4.5), (1, 5.5, 6.0)]
        text = "".join(f"{k},{a},{b}\n" for k, a, b in spans)
        (folder / "annotations" / f"{task}_{video}.csv").write_text(text)
        (folder / "constraints" / f"{task}_{video}.csv").write_text("1,0,1\n2,4,6\n")
        if not seconds:
            continue
        rows = [RANDOM.random((n, 2048)).astype(np.float16) for n in (seconds, ceil(seconds * 1.5))]
        name = video if seconds > 3 else f"{task}_{video}"
        for kind, array in zip(("2d", "3d"), rows, strict=True):
            np.save(folder / f"features_{kind}" / f"{name}.npy", array)
        if video != "validation1":
            made[task, video] = (steps, spans, rows)
    return made


def shown(spans: list[tuple], seconds: int, step: int) -> bool:
    return any(k == step + 1 and floor(a) <= seconds < ceil(b) for k, a, b in spans)


def second_vectors(rows: list[np.ndarray]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Second t of T: the maximum over rows floor(t n / T) ... ceil((t + 1) n / T) - 1 of n."""
    seconds = len(rows[0])
    return [
        tuple(
            r[t * len(r) // seconds : -(-(t + 1) * len(r) // seconds)].astype(float).max(axis=0)
            for r in rows
        )
        for t in range(seconds)
    ]


def test_crosstask(model, tmp_path):
    made = write_crosstask(tmp_path)
    recalls: dict[str, dict[str, list[tuple[float, int]]]] = {}
    for (task, _), (steps, spans, rows) in made.items():
        texts = [unit(embed_text(model, step)) for step in steps]
        seconds = [unit(embed_video(model, v)) for v in second_vectors(rows)]
        scores = [[second @ text for text in texts] for second in seconds]
        ways = list(combinations(range(len(scores)), len(steps)))
        best = max(ways, key=lambda w: sum(scores[t][k] for k, t in enumerate(w)), default=None)
        present = {k - 1 for k, _, _ in spans}
        found = {
            "official": [sum(shown(spans, best[k], k) for k in present)] if best else [0],
            "random": [sum(shown(spans, way[k], k) for k in present) for way in ways] or [0],
        }
        for name, hits in found.items():
            by_task = recalls.setdefault(name, {}).setdefault(task, [])
            by_task.append((fmean(hits), len(present)))
    said, rows = run(model, tmp_path, "crosstask")
    got = {(r["run"], r["part"].partition(" ")[0], r["metric"]): r["value"] for r in rows}
    for name, by_task in recalls.items():
        each = {t: fmean(hits / there for hits, there in of) for t, of in by_task.items()}
        pooled = {t: sum(h for h, _ in of) / sum(n for _, n in of) for t, of in by_task.items()}
        for metric, values in (("recall", each), ("recall_pooled", pooled)):
            for task, value in values.items():
                assert got[name, task, metric] == pytest.approx(value)
            assert got[name, "", metric] == pytest.approx(fmean(values.values()))
    # In the order of steps, what is said at 0 and at 4 ... 5 s is shown at 0 and at 4 s in the
    # first video; 3 seconds leave one way, in which second 0 alone is right; 2 leave none.
    assert got["narration", "105222", "recall"] == pytest.approx(fmean([1, 0, 0.5]))
    whole = {(r["items"], r["missing"]) for r in rows if not r["part"]}
    assert whole == {(4, 1)}
    assert "4 items, 1 more are missing" in said
    assert said.index("105222 Make Kimchi Fried Rice") < said.index("16815 Jack Up")
    assert re.search(r"105222 Make Kimchi Fried Rice .* 0\.3350\n", said)


def test_the_vocabulary_of_a_run_is_as_good_as_a_file_of_vectors(model, tmp_path):
    write_msrvtt(tmp_path)
    write_vocabulary(tmp_path / "words.parquet", WORDS)
    flags = [*model[0][:-1], str(tmp_path / "words.parquet")]
    assert run((flags, *model[1:]), tmp_path, "msrvtt")[1][0]["items"] == 39


class Evil:
    def __reduce__(self):
        return (print, ("run",))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (pickle.dumps([{"id": Evil()}]), r"asks for builtins\.print: refused"),
        (pickle.dumps([Path("x")]), r"asks for pathlib\S*: refused"),
        (b"cos\nsystem\n(S'true'\ntR.", r"asks for os\.system: refused"),
        (b"c_codecs\nencode\n(Vx\nVzip\ntR.", "asks for the codec zip: refused"),
        (pickle.dumps([1, 2])[:-2], "is no whole pickle"),
        (b"\x80\x04N.", "holds NoneType, not a list"),
        (pickle.dumps([{"id": "a", "caption": "b"}, {"id": "c"}]), "clip 2 of 2 has no id, or no"),
    ],
)
def test_a_strangers_pickle_is_data_or_refused(tmp_path, capsys, content, complaint):
    (tmp_path / "youcook_val.pkl").write_bytes(content)
    with pytest.raises(UserError, match=complaint):
        from_official("youcook2", tmp_path)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays_and_containers_are_read(tmp_path, protocol):
    matrix = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    held = [{"a": matrix, "b": np.asfortranarray(matrix), "c": (matrix[0, 1], {1, 2}, b"x", None)}]
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(held, protocol))
    read = read_pickle(tmp_path / "x.pkl")
    assert np.array_equal(read[0]["a"], matrix) and np.array_equal(read[0]["b"], matrix)
    assert read[0]["c"] == held[0]["c"]


def test_tensor_files_of_strangers_are_data_or_refused(tmp_path):
    torch.save({"2d": Evil()}, tmp_path / "x.pth")
    with pytest.raises(UserError, match=r"holds more than tensors, or is damaged: .*print"):
        read_tensors(tmp_path / "x.pth")
    (tmp_path / "x.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(UserError, match="is damaged"):
        read_tensors(tmp_path / "x.pth")
    (tmp_path / LIST).write_text("key,vid_key,video_id,sentence\na,b,c,d\n")
    with pytest.raises(UserError, match=r"MSRVTT_JSFUSION_test\.pth does not exist"):
        from_official("msrvtt", tmp_path)
    torch.save({"2d": {}}, tmp_path / "MSRVTT_JSFUSION_test.pth")
    with pytest.raises(UserError, match="holds no vectors by network"):
        from_official("msrvtt", tmp_path)


def test_mistakes_are_one_line(model, tmp_path):
    with pytest.raises(UserError, match="choose one of msrvtt, youcook2, lsmdc, crosstask"):
        from_official("coin", tmp_path)
    flags = ["--benchmark", "msrvtt", "--data", str(tmp_path), "--features-2d", "x.parquet"]
    answer = CliRunner().invoke(app, ["evaluate", *model[0], *flags])
    assert isinstance(answer.exception, UserError) and "go together" in str(answer.exception)
    write_msrvtt(tmp_path)
    flags = [*flags[:-2], "--similarity", "cos"]
    answer = CliRunner().invoke(app, ["evaluate", *model[0], *flags])
    assert "choose one of cosine, dot" in str(answer.exception)
    with pytest.raises(UserError, match="features_2d does not exist"):
        from_official("crosstask", tmp_path)


def test_the_published_rows_are_the_papers():
    zero_shot = {"R@1": 0.061, "R@5": 0.173, "R@10": 0.248, "median_rank": 46}
    assert published("youcook2")[3].values == pytest.approx(zero_shot)
    papers = [row for row in published("crosstask") if row.method == "the paper"]
    average, *tasks = (row.values["recall"] for row in papers)
    assert (average, len(tasks)) == (0.336, 18)
    assert fmean(tasks) == pytest.approx(average, abs=5e-4)
    for method in ("fully supervised", "uniform", "Alayrac et al. 2016", "Zhukov et al. 2019"):
        average, *tasks = (r.values["recall"] for r in published("crosstask") if r.method == method)
        assert fmean(tasks) == pytest.approx(average, abs=1e-3)
    table = "Miech et al. 2019, table 4"
    assert task_sources(papers) == (
        f"{table} (not checked against the print; consistent with the average): 15 figures;"
        f" {table}: 3 figures"
    )
    parts = [row.part for row in papers[1:]]
    assert in_order(["1 New", *sorted(parts)], "crosstask") == [*parts, "1 New"]
    assert [row.method for row in published("lsmdc", "negatives")] == [
        "intra_share 0",
        "intra_share 0.5",
    ]
