"""Tasks: the category filter, the verb filter, titles of one's own."""

from pathlib import Path

import pytest

from howto100m.kinds import Kind, UserError
from howto100m.shards import read_table, status_path
from howto100m.tasks.objects import KINDS, read_objects
from howto100m.tasks.select import Rules, select, select_titles, top_two
from howto100m.tasks.verbs import Overrides, Verb, decide, head_verb, read_verbs
from howto100m.tasks.wikihow import read_tree

TREE = """* Food and Entertaining
** Drinks
*** Coffee
** Baking
* Relationships
** Dating
"""


@pytest.fixture(scope="module")
def verbs() -> dict[str, Verb]:
    return read_verbs()


@pytest.mark.parametrize(
    ("title", "verb"),
    [
        ("Make Coffee", "make"),
        ("How to Paint Furniture", "paint"),
        ("how to  fold a Towel", "fold"),
        ("Properly Clean a Cat's Ears", "clean"),
        ("Quickly and Safely Jump Start a Car", ""),
        ("Not Burn Rice", "burn"),
        ("Deep-Fry a Turkey", "deep-fry"),
        ("Makea Kite", "make"),
        ("Growand Process Sorghum", "grow"),
        ("Carefora Dog", "care"),
        ("De Clutter a Garage", "declutter"),
        ("(Re)paint a Wall", "repaint"),
        ("Hand Wash Silk", "wash"),
        ("Hand Over a Parcel", "hand"),
        ("Do Not Burn Rice", "burn"),
        ("Don't Burn Rice", "burn"),
        ("Do the Splits", "do"),
        ("Either Fix or Replace a Tap", "fix"),
        ("Café au Lait", ""),
        ("", ""),
        ("😀 🎉", ""),
    ],
)
def test_the_verb_is_the_imperative_at_the_head(
    title: str, verb: str, verbs: dict[str, Verb]
) -> None:
    assert head_verb(title, verbs) == verb


@pytest.mark.parametrize("title", ["Make Coffee", "Build a Shelf", "Change a Tire", "Knit a Scarf"])
def test_physical_verbs_stay(title: str, verbs: dict[str, Verb]) -> None:
    assert decide(title, verbs).kind is None


@pytest.mark.parametrize("title", ["Be Happy", "Accept Yourself", "Feel Better", "Know If He Lies"])
def test_the_papers_abstract_verbs_go(title: str, verbs: dict[str, Verb]) -> None:
    assert decide(title, verbs).kind is Kind.NOT_VISUAL


@pytest.mark.parametrize(
    "title",
    [
        "10 Ways to Make Coffee",
        "Five Easy Ways to Tie a Tie",
        "What Is a Latte?",
        "Can You Freeze Milk?",
        "Can You Freeze Milk",
        "Is It Done",
        "Quiz: Bake or Fry",
    ],
)
def test_questions_and_lists_go(title: str, verbs: dict[str, Verb]) -> None:
    assert decide(title, verbs).kind is Kind.NO_VERB


def test_a_reviewed_decision_wins_over_the_rule() -> None:
    verbs = {"make": Verb(0.1, "visual"), "grab": Verb(0.9, "abstract"), "half": Verb(0.5, "")}
    assert decide("Make Tea", verbs).visual
    assert not decide("Grab Attention", verbs).visual
    assert decide("Half It", verbs).visual
    assert not decide("Half It", verbs | {"half": Verb(0.49, "")}).visual


def test_a_malformed_verbs_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "verbs.tsv"
    head = "verb\tshare\treason\tdecision\treviewed\nmake\t0.5\t\tvisual\t\n"
    path.write_text(f"{head}bake\tmuch\t\tvisual\t\n")
    with pytest.raises(UserError, match=r"verbs\.tsv:3: expected verb.*bake"):
        read_verbs(path)
    path.write_text(f"{head}bake\t0.9\t\tvisual\tabstract\n")
    with pytest.raises(UserError, match=r"verbs\.tsv:3: the decision must be abstract"):
        read_verbs(path)
    path.write_text("verb\n")
    with pytest.raises(UserError, match="the first line must be verb<TAB>share"):
        read_verbs(path)


@pytest.mark.parametrize(
    ("title", "verb"),
    [
        ("Get Rid of Ants", "get rid"),
        ("Get Ridof Ants", "get rid"),
        ("Get a Pumpkin Stain Out of Cotton", "get … out"),
        ("Getoutofa Lease", "get … out"),
        ("Get a Girlfriend", "get"),
        ("Applyfora Visa", "apply for"),
        ("Apply Nail Polish", "apply"),
        ("Change Your Name", "change your name"),
        ("Take Apart a Clarinet", "take apart"),
    ],
)
def test_a_listed_phrase_goes_before_its_verb(
    title: str, verb: str, verbs: dict[str, Verb]
) -> None:
    assert head_verb(title, verbs) == verb


@pytest.mark.parametrize(
    ("title", "reason"),
    [
        ("Use Microsoft Excel", "screen: microsoft"),
        ("Use Power Point", "screen: powerpoint"),
        ("Make Moneyin Neopets", "people: money"),
        ("Create an E-Mail Account", "screen: email"),
        ("Make a LinkedIn-Page", "screen: linkedin"),
        ("Make Someone's Day", "people: someone"),
        ("Prepare Tax Forms", "paper: tax"),
    ],
)
def test_what_a_verb_acts_on_may_be_abstract(
    title: str, reason: str, verbs: dict[str, Verb]
) -> None:
    decision = decide(title, verbs, read_objects())
    assert (decision.visual, decision.reason, decision.kind) == (False, reason, Kind.NOT_VISUAL)
    assert decide(title, verbs).visual
    assert decide(title, verbs, read_objects(set(KINDS) - {reason.split(":")[0]})) != decision


@pytest.mark.parametrize(
    "title",
    [
        "Make a Minecraft Cake",
        "Sew a Kindle Cover",
        "Crush Grapes",
        "Clean an Audition Stage",
        "Use a Saw",
        "Make Satin Roses",
    ],
)
def test_things_that_are_handled_stay(title: str, verbs: dict[str, Verb]) -> None:
    assert decide(title, verbs, read_objects()).visual


def test_objects_are_of_known_kinds_and_a_malformed_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="dream: objects are of the kinds screen, paper, people"):
        read_objects(["dream"])
    path = tmp_path / "objects.tsv"
    path.write_text("object\tkind\nblog\tscreen\nblog\n")
    with pytest.raises(UserError, match=r"objects\.tsv:3: expected an object and its kind.*'blog'"):
        read_objects(path=path)


def test_a_page_has_the_two_upper_levels_of_a_kept_category() -> None:
    parents = read_tree(TREE)
    kept = {"Food and Entertaining"}
    assert top_two(["Coffee"], parents, kept) == ("Food and Entertaining", "Drinks")
    assert top_two(["Dating", "Coffee"], parents, kept) == ("Food and Entertaining", "Drinks")
    assert top_two(["Food and Entertaining"], parents, kept) == ("Food and Entertaining", "")
    assert top_two(["Dating"], parents, kept) == ("Relationships", "Dating")
    assert top_two(["Unheard Of"], parents, kept) == ("", "")


def test_a_loop_in_the_tree_ends() -> None:
    assert top_two(["a"], {"a": "b", "b": "a"}, ()) == ("b", "a")


def test_the_category_filter_comes_before_the_verb() -> None:
    task, outcome = select("1", "Make Peace", ("Relationships", ""), Rules.of({"Health"}))
    assert not task.visual and outcome.kind is Kind.OTHER_CATEGORY
    task, outcome = select("1", "Make Tea", ("Relationships", ""), Rules.of())
    assert task.visual and outcome.kind is None


def test_titles_of_ones_own(tmp_path: Path) -> None:
    titles = tmp_path / "titles.tsv"
    titles.write_text('task_id\ttitle\n7\tMake "Tea"\n8\tBe <b>Happy</b>\n9\t../../etc/passwd\n')
    output = tmp_path / "tasks.parquet"
    select_titles(titles, output, 0.0, Rules.of({"Health"}))
    rows = {row["task_id"]: row for row in read_table(output).to_pylist()}
    assert rows["7"]["visual"] and rows["7"]["title"] == 'Make "Tea"'
    assert not rows["8"]["visual"] and not rows["9"]["visual"]
    status = read_table(status_path(output)).to_pylist()
    assert [s["kind"] for s in status] == [None, "not_visual", "no_verb"]


@pytest.mark.parametrize("text", ["name\nMake Tea\n", "title\n", ""])
def test_a_file_without_titles_is_named(tmp_path: Path, text: str) -> None:
    titles = tmp_path / "t.tsv"
    titles.write_text(text)
    with pytest.raises(UserError, match=r"t\.tsv"):
        select_titles(titles, tmp_path / "out.parquet", 0.5, Rules.of())
    assert not (tmp_path / "out.parquet").exists()


def test_a_malformed_title_is_named_and_stops_no_other(tmp_path: Path) -> None:
    titles = tmp_path / "t.tsv"
    titles.write_text("task_id\ttitle\n1\tHow to Make Tea\n2\n1\tFold Paper\n")
    select_titles(titles, tmp_path / "out.parquet", 0.7, Rules.of())
    assert [r["title"] for r in read_table(tmp_path / "out.parquet").to_pylist()] == [
        "How to Make Tea"
    ]
    status = read_table(status_path(tmp_path / "out.parquet")).to_pylist()
    assert [row["id"] for row in status] == ["1", "t.tsv:3", "t.tsv:4"]
    assert "task_id 1 is given twice" in status[2]["message"]


def test_a_users_word_goes_before_rule_category_and_review(tmp_path: Path) -> None:
    titles = tmp_path / "titles.tsv"
    titles.write_text(
        "task_id\ttitle\tcategory_1\n1\tMake Tea\tFood\n2\tDecide Now\tFood\n"
        "3\tBake\tWork\n4\tDecide\tFood\n"
    )
    overrides = Overrides.of(["make=abstract", "decide=visual"], ["3=visual", "4=abstract"])
    select_titles(titles, tmp_path / "tasks.parquet", 0.0, Rules.of(["Food"], overrides))
    rows = read_table(tmp_path / "tasks.parquet").to_pylist()
    assert [row["visual"] for row in rows] == [False, True, True, False]
    assert [row["reason"] for row in rows[2:]] == ["overridden: visual", "overridden: abstract"]
    status = read_table(status_path(tmp_path / "tasks.parquet")).to_pylist()
    assert [row["kind"] for row in status] == ["not_visual", None, None, "not_visual"]


def test_an_overridden_task_that_is_not_there_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    titles = tmp_path / "titles.tsv"
    titles.write_text("title\nMake Tea\n")
    rules = Rules.of((), Overrides.of([], ["77=visual"]))
    select_titles(titles, tmp_path / "tasks.parquet", 0.0, rules)
    assert "no task has the overridden ids 77" in caplog.text


@pytest.mark.parametrize("text", ["make", "=visual", "make=maybe", ""])
def test_a_malformed_override_is_named(text: str) -> None:
    with pytest.raises(UserError, match="write NAME=visual or NAME=abstract"):
        Overrides.of([text], [])


def test_hostile_titles_come_back_as_they_were(tmp_path: Path) -> None:
    hostile = [
        '"Make" \'Tea\'; rm -rf "$HOME"',
        "../../etc/passwd",
        "<script>alert(1)</script>",
        "Bake 🎂 für Zoë \u202eגוע",
        "Make " + "x" * 9995,
        "=HYPERLINK(1)",
        "Make \u2028 Tea",
        "{output} %s \\0",
    ]
    titles = tmp_path / "titles.tsv"
    titles.write_text("\n".join(["title", *hostile, ""]), encoding="utf-8")
    select_titles(titles, tmp_path / "tasks.parquet", 0.0, Rules.of())
    rows = read_table(tmp_path / "tasks.parquet").to_pylist()
    assert sorted(row["title"] for row in rows) == sorted(hostile)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "tasks.parquet",
        "tasks.status.parquet",
        "titles.tsv",
    ]


@pytest.mark.parametrize(
    "title", ["Can Peaches", "How to Can Pears?", "Do Yoga", "Make Tea1", "Ｍake Tea"]
)
def test_an_imperative_is_no_question(title: str, verbs: dict[str, Verb]) -> None:
    assert decide(title, verbs).visual


def test_the_end_of_an_endless_title_costs_no_time(verbs: dict[str, Verb]) -> None:
    assert decide("how to " + "a" * 10_000_000, verbs).kind is Kind.NO_VERB
    assert decide("a " * 5_000_000 + "ways?", verbs).kind is Kind.NO_VERB
