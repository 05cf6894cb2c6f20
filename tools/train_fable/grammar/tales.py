"""Tells tales: picks a plot, casts it, and writes it out."""

from __future__ import annotations

import random
from dataclasses import dataclass

from grammar import cast, fables, quests, wonders
from grammar.cast import Character
from grammar.phrases import PHRASES, SEASONS
from grammar.plot import Plot
from grammar.templates import Expander

_LONG = (*fables.PLOTS, *quests.PLOTS, *wonders.PLOTS)
_NAMED_HERO, _NAMED_OTHER = 0.75, 0.35
# Kinds that are asked for more often than others play a part more often.
_FAVOURITES = {"fox": 5, "princess": 4, "king": 2, "queen": 2, "prince": 2, "dragon": 3, "cat": 3, "dog": 3, "bear": 3}
_FAVOURITES |= {"rabbit": 3, "mouse": 3, "wolf": 3, "girl": 3, "boy": 3, "old woman": 3, "woodcutter": 2, "owl": 2}
_FAVOURITES |= {"fisherman": 2, "frog": 2, "horse": 2, "lion": 2, "elephant": 2, "witch": 2, "giant": 2, "duck": 2}


@dataclass(frozen=True)
class Tale:
    """A finished tale and what may be asked about it."""

    title: str
    paragraphs: list[str]
    hero: Character
    others: tuple[Character, ...]
    about: tuple[str, ...]
    want: str
    lesson: str

    @property
    def text(self) -> str:
        """The tale as the model sees it."""
        return "\n\n".join(self.paragraphs)


class Teller:
    """A seeded source of tales."""

    def __init__(self, chooser: random.Random) -> None:
        self._random = chooser

    def tell(self, short: bool | None = None) -> Tale:
        """A new tale; every eighth is a short one unless `short` says which it shall be."""
        if short is None:
            short = self._random.random() < 0.12
        plots = wonders.SHORT if short else _LONG
        plot = self._random.choices(plots, [plot.weight for plot in plots])[0]
        cast_of = self._cast(plot)
        day, sky = self._random.choice(SEASONS)
        bindings = {**cast_of, **self._slots(plot), "day": day, "sky": sky}
        expander = Expander(bindings, PHRASES, self._random)
        text = expander.text(plot.text)
        others = tuple(character for role, character in cast_of.items() if role != "h")
        title = _title_case(expander.text(self._random.choice(plot.titles)))
        return Tale(
            title,
            text.split("\n\n"),
            cast_of["h"],
            others,
            plot.about,
            expander.text(plot.want),
            expander.text(plot.lesson),
        )

    def _cast(self, plot: Plot) -> dict[str, Character]:
        taken: set[str] = set()
        names: set[str] = set()
        result = {}
        # the hero is chosen first; a tale in which no one is left for a part is a mistake of the plot
        for role in sorted(plot.roles, key=lambda role: role != "h"):
            kinds = cast.candidates(plot.roles[role], taken)
            if not kinds:
                raise ValueError(f"{plot.titles[0]}: nobody can play {role!r}")
            weighted = [kind for kind in kinds for _ in range(_FAVOURITES.get(kind.noun, 1))]
            named = _NAMED_HERO if role == "h" else _NAMED_OTHER
            named = 1.0 if role in plot.named else 0.0 if role in plot.nameless else named
            character = cast.draw(weighted, named, names, role in plot.wicked, self._random)
            taken.add(character.kind.noun)
            names.add(character.name)
            result[role] = character
        return result

    def _slots(self, plot: Plot) -> dict[str, str | dict]:
        chosen: dict[str, str | dict] = {}
        used: dict[int, list] = {}
        for slot, values in plot.slots.items():
            free = [value for value in values if value not in used.get(id(values), [])]
            chosen[slot] = self._random.choice(free)
            used.setdefault(id(values), []).append(chosen[slot])
        return chosen


def _title_case(title: str) -> str:
    small = {"a", "an", "and", "at", "for", "from", "in", "of", "on", "or", "the", "to", "with"}
    words = title.split(" ")
    cased = [word if index and word in small else word[:1].upper() + word[1:] for index, word in enumerate(words)]
    return " ".join(cased)
