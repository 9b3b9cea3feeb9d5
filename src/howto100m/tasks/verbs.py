"""The verb of a title, and whether what it names can be seen (paper, section 3.1).

The paper keeps tasks whose primary verb is a physical action; its lists are not public. Here a verb
is visual when at least half of its occurrences have a sense of WordNet's physical classes, unless a
person has decided otherwise; verbs.tsv holds both. A person decides about phrases too ("get rid",
"apply for"), and what a visual verb acts on may still be abstract (objects.py).
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from pathlib import Path

from howto100m.kinds import Kind, UserError
from howto100m.tasks.objects import Object, abstract_object

VERBS = Path(__file__).with_name("verbs.tsv")
HEADER = ("verb", "share", "reason", "decision", "reviewed")
ANYTHING = "…"
"""In a phrase: any words, or none ("get … out")."""
DECISIONS = ("visual", "abstract")
"""What a person may decide about a verb or a task."""
MAX_LENGTH = 300
"""Characters of a title that are looked at; WikiHow's are shorter than 256 bytes."""
LEADING = 7
"""Words among which a title's verb is looked for, and behind it those of its phrase."""
MIN_SHARE = 0.5
"""Share of physical senses from which a verb counts as visual."""

_HOW_TO = re.compile(r"^how\s+to\b[\s:]*", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_LEADERS = frozenset(
    "how to not never don't don’t always easily quickly safely really successfully just almost"
    " also either both".split()
)
_MODIFIERS = frozenset(
    "acid air baby best cold cross deep dutch french fully hand hard home hot line machine old"
    " quick self soft spring".split()
)
"""Words that say how, where the next one is a verb: "Hand Wash Silk", "Deep Clean Grout"."""
_GLUE = tuple(
    "through between without around about after their into from with down over your when and for"
    " the off out how his her an as at by if in is my of on or to up a i".split()
)
"""What sticks to a verb where a title has lost its blanks ("Growand Process", "Carefora Dog"), as
in the WikiHow-Dataset; longest first."""
_PREFIXES = frozenset(("de", "re", "un"))
_NOT_IMPERATIVE = re.compile(
    r"(?:\S+\s+){0,4}(?:ways?|tips?|steps?|reasons?|signs?|things|ideas|methods|facts|examples|types)"
    r"\s+(?:to|for|of|that|you|your|about)\b"
    r"|\d+\s.*\b(?:ways?|tips?|steps?|reasons?|signs?|things|ideas|methods|facts|examples|types)\b"
    r"|(?:what|why|when|who|where|which|is|are|does|am i|quiz)\b"
    r"|(?:can|do|should|will)\s+(?:you|i|we|my|your|they|it|there|this|dogs?|cats?)\b"
    r"|.*\?\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Verb:
    """A row of verbs.tsv.

    `share` is the share of physical senses (None where WordNet has no such verb), `reason` the
    classes that most of its senses are of; `reviewed` is a person's decision, "visual" or
    "abstract", or "" where there is none.
    """

    share: float | None
    reviewed: str
    reason: str = ""

    @property
    def visual(self) -> bool:
        """Whether tasks with this verb are kept."""
        if self.reviewed:
            return self.reviewed == "visual"
        return self.share is not None and self.share >= MIN_SHARE

    @property
    def why(self) -> str:
        """What decided."""
        if self.reviewed:
            return f"reviewed: {self.reviewed}"
        if self.share is None:
            return "unknown to WordNet"
        return f"{self.share:.0%} physical senses ({self.reason})"

    @property
    def decision(self) -> str:
        """The same in a word of DECISIONS."""
        return DECISIONS[not self.visual]


@dataclass(frozen=True)
class Decision:
    """What becomes of a title: its verb ("" if none), whether it stays, and why."""

    verb: str
    visual: bool
    reason: str
    kind: Kind | None = None


@dataclass(frozen=True)
class Overrides:
    """A user's own decisions, "visual" or "abstract", by verb and by task id."""

    verbs: Mapping[str, str] = field(default_factory=dict)
    tasks: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, verbs: Iterable[str], tasks: Iterable[str]) -> "Overrides":
        """Read "NAME=visual" and "NAME=abstract". Raises UserError that names the malformed one."""
        return cls(_decisions(verbs), _decisions(tasks))

    def over(self, verbs: Mapping[str, Verb]) -> dict[str, Verb]:
        """The verbs, with the user's decisions in the place of the reviewed ones."""
        return dict(verbs) | {
            verb: replace(verbs.get(verb, Verb(None, "")), reviewed=decision)
            for verb, decision in self.verbs.items()
        }


def _decisions(texts: Iterable[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, _, decision = text.rpartition("=")
        if not name or decision not in DECISIONS:
            raise UserError(f"{text!r} decides nothing: write NAME=visual or NAME=abstract")
        found[name] = decision
    return found


def read_verbs(path: Path = VERBS) -> dict[str, Verb]:
    """Read verbs.tsv. Raises UserError that names the malformed line."""
    verbs: dict[str, Verb] = {}
    lines = path.read_text(encoding="utf-8").splitlines()
    if tuple(lines[0].split("\t")) != HEADER:
        raise UserError(f"{path}: the first line must be {'<TAB>'.join(HEADER)}")
    for number, line in enumerate(lines[1:], 2):
        try:
            verb, share, reason, decision, reviewed = line.split("\t")
            if reviewed not in ("", *DECISIONS):
                raise ValueError(reviewed)
            verbs[verb] = Verb(float(share) if share else None, reviewed, reason)
        except ValueError:
            raise UserError(
                f"{path}:{number}: expected {', '.join(HEADER)}, separated by tabs (share: 0 to 1"
                f" or empty; reviewed: visual, abstract or empty); found {line!r}"
            ) from None
        if decision != verbs[verb].decision:
            raise UserError(
                f"{path}:{number}: the decision must be {verbs[verb].decision}, as share and"
                f" reviewed say; found {decision!r}"
            )
    return verbs


def head_verb(title: str, verbs: Mapping[str, Verb]) -> str:
    """The imperative that a title opens with, or "" where it opens with none.

    "How to", negations, adverbs and modifiers ("Hand Wash") before it are passed over; a hyphenated
    head counts by its last part ("Deep-Fry"), a prefix with the word behind it ("De Clutter"), a
    head that lost its blank ("Makea", "Growand") without what is stuck to it. A phrase that is
    listed goes before its verb alone.
    """
    return _head(title, verbs)[0]


def _head(title: str, verbs: Mapping[str, Verb]) -> tuple[str, str]:
    """The verb or phrase at the head of a title, and the text behind the verb."""
    text = title.lower()
    words = list(islice(_WORD.finditer(text), LEADING + 1))
    for match, following in zip_longest(words[:LEADING], words[1:]):
        word, after = match.group(), following.group() if following else ""
        if word in _LEADERS or (word, after) == ("do", "not"):
            continue
        if following and word in _PREFIXES and word + after in verbs:
            return word + after, text[following.end() :]
        if word in _MODIFIERS and after in verbs:
            continue
        found, stuck = _known(word, verbs)
        if found:
            behind = stuck + text[match.end() :]
            return _phrase(found, behind, verbs) or found, behind
        if not word.endswith("ly"):
            break
    return "", ""


def _known(word: str, verbs: Mapping[str, Verb]) -> tuple[str, str]:
    """The verb that a word is, and what is stuck to it; "" and "" where it is none."""
    forms = [word, word.rsplit("-", 1)[-1], word.replace("-", "")]
    for form in forms:
        if form in verbs:
            return form, ""
    return next(((form, word[len(form) :]) for form in _unglued(word) if form in verbs), ("", ""))


def _unglued(word: str) -> Iterator[str]:
    for end in _GLUE:
        if word.endswith(end) and len(word) > len(end) + 1:
            yield word.removesuffix(end)
            yield from _unglued(word.removesuffix(end))


def _phrase(verb: str, behind: str, verbs: Mapping[str, Verb]) -> str:
    """The listed phrase that a verb opens with the words behind it; "" where there is none."""
    words = [(word, *_unglued(word)) for word in _WORD.findall(behind)[:LEADING]]
    nearest = [f"{verb} {first}" for first in (words or [()])[0]]
    longer = [f"{phrase} {second}" for phrase in nearest for second in (words[1:2] or [()])[0]]
    apart = [f"{verb} {ANYTHING} {form}" for word in words for form in word]
    return next((phrase for phrase in longer + nearest + apart if phrase in verbs), "")


def decide(
    title: str, verbs: Mapping[str, Verb], objects: Mapping[str, Object] | None = None
) -> Decision:
    """Whether a title names a physical action, and which verb, or which of `objects`, says so."""
    bare, imperative = _HOW_TO.subn("", unicodedata.normalize("NFKC", title[:MAX_LENGTH]).strip())
    bare = bare.replace("(", "").replace(")", "")
    if not imperative and _NOT_IMPERATIVE.match(bare):
        return Decision("", False, "a question or a list", Kind.NO_VERB)
    verb, behind = _head(bare, verbs)
    if not verb:
        return Decision("", False, "no verb at its head", Kind.NO_VERB)
    row = verbs[verb]
    if row.visual and objects and (found := abstract_object(behind, objects)):
        return Decision(verb, False, f"{found.kind}: {found.name}", Kind.NOT_VISUAL)
    return Decision(verb, row.visual, row.why, None if row.visual else Kind.NOT_VISUAL)
