"""Splits each book into its tales or chapters."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator

import prose

Section = tuple[str, list[str]]  # title ("" for a chapter), paragraphs

# Modern translations by D. L. Ashliman that the Grimm table mixes with the old ones: still in copyright.
_MODERN_GRIMM = {
    "Herr Korbes",
    "Pack of Scoundrels",
    "The Crumbs on the Table",
    "The Hare and the Hedgehog",
    "The Wolf and the Man",
}
# Verse, a play and what is no story.
_NOT_TALES = {
    "Two Little Riddles in Rhyme",
    "The Cloud",
    "The Cock-A-Doo-Dle-Doo",
    "The Fairies",
    "The Shepherd's Song",
    "My Kingdom",
    "Piccola",
    "Early",
    "Little Gottlieb",
    "In the Nursery",
    "Eton Montem",
    "Old Poz",
    "The Little Cotyledons",
    "A True Story About a Girl",
}
_HEADING = re.compile(
    r"(?m)^[ \t]*(?:(?:CHAPTER|Chapter|BOOK|VOLUME|Volume|PART|ADVENTURE)\s+[IVXLCivxlc\d]+\b[^\n]*"
    r"|[IVXLC]+\.?(?:[ \t]+[A-Z][^\n]{0,60})?"
    r"|[A-Z][A-Z'\- ,.]{4,50})[ \t]*$\n(?=[ \t]*\n)"
)


def sections(layout: str, text: str) -> Iterator[Section]:
    """Yields the sections of a book stored in `layout`; a tale keeps its title, a chapter has none."""
    yield from _LAYOUTS[layout](text)


def title_case(title: str) -> str:
    """THE EMPEROR'S NEW SUIT -> The Emperor's New Suit."""
    small = set("a an and at but by for from in is of on or the to who with".split())
    words = title.strip(" .").lower().split()
    cased = [word if word in small and index else word[:1].upper() + word[1:] for index, word in enumerate(words)]
    return re.sub(r"-([a-z])", lambda match: "-" + match[1].upper(), " ".join(cased))


def _andersen(text: str) -> Iterator[Section]:
    """Titles stand after four blank lines; the headings inside a tale after two."""
    yield from _titled(re.split(r"(?:^|\n{5,})([^a-z\n]{3,70})\n\n", text.strip("\n")))


def _bryant(text: str) -> Iterator[Section]:
    yield from _titled(re.split(r"\n\n+([A-Z][A-Z' ,.?!-]{3,60})\n\n", text))


def _edgeworth(text: str) -> Iterator[Section]:
    """A tale's own chapter and scene headings are not titles."""
    text = re.sub(r"\n\n+(?:CHAPTER|SCENE) [IVX]+\.?\n\n", "\n\n", text)
    yield from _titled(re.split(r"\n\n+([A-Z][A-Z' ,?!-]{5,60}\.)\n\n", text))


def _titled(pieces: list[str]) -> Iterator[Section]:
    for title, body in zip(pieces[1::2], pieces[2::2], strict=True):
        cased = title_case(title)
        if cased not in _NOT_TALES:
            yield cased, prose.paragraphs(body)


def _grimm(text: str) -> Iterator[Section]:
    """A tab-separated table whose cells have lost their line breaks: two spaces are left where a paragraph ended."""
    csv.field_size_limit(1 << 20)
    for row in list(csv.reader(io.StringIO(text), delimiter="\t"))[3:]:
        if len(row) > 3 and row[1] not in _MODERN_GRIMM:
            body = re.sub(r"^C(?=The )", "", row[3])
            yield row[1], _regroup(prose.normalise(part) for part in re.split(r" {2,}", body))


def _regroup(parts: Iterator[str]) -> list[str]:
    """Joins pieces that were split inside a sentence (verse, abbreviations)."""
    result: list[str] = []
    for part in parts:
        if result and not prose.ends_a_sentence(result[-1]):
            result[-1] += "\n" + part if len(part) < 60 else " " + part
        elif part:
            result.append(part)
    return result


def _chapters(text: str) -> Iterator[Section]:
    for body in _HEADING.split(text)[1:] if _HEADING.search(text[:20000]) else [text]:
        if found := prose.paragraphs(body):
            yield "", found


def _gutenberg(text: str) -> Iterator[Section]:
    body = re.split(r"\*\*\* ?(?:START|END) OF TH[^\n]*\n?", text)[1]
    yield from _chapters(body)


_LAYOUTS: dict[str, Callable[[str], Iterator[Section]]] = {
    "andersen": _andersen,
    "bryant": _bryant,
    "chapters": _chapters,
    "edgeworth": _edgeworth,
    "grimm": _grimm,
    "gutenberg": _gutenberg,
}
