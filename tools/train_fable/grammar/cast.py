"""Characters: one being with one name and one sex from the first line of its tale to the last."""

from __future__ import annotations

import random
from collections.abc import Iterable, Set
from dataclasses import dataclass

from grammar import names
from grammar.kinds import KINDS, Kind

_PRONOUNS = {
    "m": {
        "he": "he",
        "him": "him",
        "his": "his",
        "himself": "himself",
        "child": "son",
        "boy": "boy",
        "brother": "brother",
    },
    "f": {
        "he": "she",
        "him": "her",
        "his": "her",
        "himself": "herself",
        "child": "daughter",
        "boy": "girl",
        "brother": "sister",
    },
}


_ODD_PARTS = {"odd", "swimmer", "water"}
WICKED = ("greedy", "sly", "bad-tempered", "proud", "cruel", "grumpy")


@dataclass
class Character:
    """One being of a tale. `name` is empty when the tale calls it only by its kind."""

    kind: Kind
    sex: str
    name: str
    adjective: str
    home: str

    def form(self, name: str, chooser: random.Random) -> str:
        """ "" is the name or the kind, "n" the name if there is one, "k" the kind, "a" the introduction."""
        definite = f"the {self.kind.noun}"
        if name in _PRONOUNS[self.sex]:
            return _PRONOUNS[self.sex][name]
        if name == "":
            if self.name:
                return self.name if chooser.random() < 0.6 else definite
            return f"the {self.adjective} {self.kind.noun}" if chooser.random() < 0.12 else definite
        if name == "n":
            return self.name or definite
        if name == "a":
            return self._introduction(chooser)
        fields = {"k": definite, "noun": self.kind.noun, "one": f"a {self.kind.noun}", "home": self.home}
        fields |= {"food": self.kind.food, "adj": self.adjective, "big": f"the {self.adjective} {self.kind.noun}"}
        return fields[name]

    def _introduction(self, chooser: random.Random) -> str:
        noun = self.kind.noun if chooser.random() < 0.3 else f"{self.adjective} {self.kind.noun}"
        if not self.name:
            return f"a {noun}"
        word = chooser.choice(("named", "named", "called", "whose name was", "by the name of"))
        return f"a {noun} {word} {self.name}"

    @property
    def plain(self) -> str:
        """What a child would ask for: "a fox", "an old woman"."""
        article = "an" if self.kind.noun[0] in "aeio" else "a"
        return f"{article} {self.kind.noun}"


def fits(kind: Kind, wanted: str) -> bool:
    """Whether `kind` can play a part described as alternatives of tags: "small tame, bird" or "=fox"; "!" forbids.

    What is tagged "odd", as a fish or a cloud, cannot walk about, and plays only parts that ask for it.
    """
    for alternative in wanted.split(","):
        words = alternative.split()
        if words and words[0].startswith("="):
            if kind.noun == alternative.strip()[1:]:
                return True
        elif "odd" in kind.tags and not _ODD_PARTS & set(words):
            continue
        elif all((word[1:] not in kind.tags) if word[0] == "!" else (word in kind.tags) for word in words):
            return True
    return False


def candidates(wanted: str, taken: Set[str]) -> list[Kind]:
    """The kinds that fit a part and are not in the tale yet."""
    return [kind for kind in KINDS.values() if kind.noun not in taken and fits(kind, wanted)]


def draw(kinds: Iterable[Kind], named: float, taken_names: Set[str], wicked: bool, chooser: random.Random) -> Character:
    """A new character of one of `kinds`, with a name of its own with probability `named`."""
    kind = chooser.choice(list(kinds))
    sex = chooser.choice(kind.sexes)
    name = ""
    if chooser.random() < named:
        while not name or name in taken_names:
            name = names.draw(sex, "animal" in kind.tags, chooser)
    adjectives = [word for word in (WICKED if wicked else kind.adjectives) if word not in kind.noun.split()]
    return Character(kind, sex, name, chooser.choice(adjectives), chooser.choice(kind.homes))
