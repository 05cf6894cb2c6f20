"""The template language the tales are written in.

`[red|blue|]` is one of its parts, nested as deep as one likes. `{hero}` is a name bound by the tale, `{hero.his}` one
of its forms; a capital first letter, `{Hero}`, capitalises what it stands for. `{@dawn}` is a shared phrase and
`{@begs:wolf}` a shared phrase in which `x` is the wolf. A blank line ends a paragraph; other line breaks are spaces.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping
from functools import cache
from typing import Protocol

_MARKS = re.compile(r"[\[\]|]|\{[^{}]*\}")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiou]|hono|hones|hour)(?!one\b|onc|uni|use|eu)")
_OPENING_QUOTE = re.compile(r'(?:^|(?<=\s))" +')
_SENTENCE_START = re.compile(r'(?:^|(?<=[.!?] )|(?<=\." )|(?<=\n))([a-z])')

Part = str | tuple  # text, ("choice", alternatives) or ("name", what stands between the braces)


class Bound(Protocol):
    """What a name may stand for besides plain text."""

    def form(self, name: str, chooser: random.Random) -> str:
        """The form called `name` ("" for the bare reference)."""


@cache
def parse(text: str) -> tuple[Part, ...]:
    """The template's parts; unbalanced brackets are an error."""
    text = "\n\n".join(re.sub(r"\s+", " ", block).strip() for block in re.split(r"\n\s*\n", text.strip("\n")))
    parts, at = _sequence(text, 0, inside=False)
    if at != len(text):
        raise ValueError(f"unbalanced brackets after {text[max(0, at - 60) : at]!r}")
    return parts


def _sequence(text: str, at: int, inside: bool) -> tuple[tuple[Part, ...], int]:
    parts: list[Part] = []
    while mark := _MARKS.search(text, at):
        found = mark.group()
        if found in "|]":
            if not inside:
                raise ValueError(f"{found!r} outside brackets after {text[max(0, at - 60) : mark.start()]!r}")
            parts.append(text[at : mark.start()])
            return tuple(parts), mark.start()
        parts.append(text[at : mark.start()])
        at = mark.end()
        if found == "[":
            alternatives = []
            while True:
                alternative, at = _sequence(text, at, inside=True)
                alternatives.append(alternative)
                at += 1
                if text[at - 1 : at] != "|":
                    break
            parts.append(("choice", tuple(alternatives)))
        else:
            parts.append(("name", found[1:-1]))
    if inside:
        raise ValueError(f"unclosed bracket in {text[:60]!r}")
    parts.append(text[at:])
    return tuple(parts), len(text)


class Expander:
    """Turns templates into text with one set of bindings."""

    def __init__(self, bindings: Mapping[str, str | Bound | dict], phrases: Mapping[str, str], chooser: random.Random):
        self._bindings = dict(bindings)
        self._phrases = phrases
        self._random = chooser
        self._told: dict[str, set[int]] = {}  # which alternatives of each phrase the tale has had

    def text(self, template: str) -> str:
        """The finished text: articles agree, sentences begin with capitals."""
        raw = self._expand(parse(template), self._bindings)
        raw = re.sub(r" {2,}", " ", raw)
        raw = re.sub(r" +([,.;:!?\n])", r"\1", raw)
        raw = re.sub(r"\n +", "\n", raw).replace(",,", ",")
        raw = _OPENING_QUOTE.sub('"', raw)
        raw = re.sub(r"([?!])[,.](?=\")", r"\1", raw)  # "[Why not?|So be it,]" said …
        raw = _ARTICLE.sub(r"\1n ", raw)
        return _SENTENCE_START.sub(lambda match: match[1].upper(), raw.strip())

    def _expand(self, parts: tuple[Part, ...], bindings: Mapping) -> str:
        pieces = []
        for part in parts:
            if isinstance(part, str):
                pieces.append(part)
            elif part[0] == "choice":
                pieces.append(self._expand(self._random.choice(part[1]), bindings))
            else:
                pieces.append(self._name(part[1], bindings))
        return "".join(pieces)

    def _name(self, name: str, bindings: Mapping) -> str:
        if name.startswith("@"):
            phrase, _, arguments = name[1:].partition(":")
            inner = {**bindings}
            for own, argument in zip("xy", filter(None, arguments.split(",")), strict=False):
                inner[own] = bindings[argument]
            text = self._phrase(phrase[0].lower() + phrase[1:], inner)
            return text[0].upper() + text[1:] if phrase[0].isupper() else text
        key, _, form = name.partition(".")
        value = bindings[key[0].lower() + key[1:]]
        if isinstance(value, dict):
            text = value[form[0].lower() + form[1:]]
        elif isinstance(value, str):
            text = value
        else:
            text = value.form(form[:1].lower() + form[1:], self._random)
        if "{" in text or "[" in text:
            text = self._expand(parse(text), bindings)
        return text[0].upper() + text[1:] if (form or key)[0].isupper() or key[0].isupper() else text

    def _phrase(self, phrase: str, bindings: Mapping) -> str:
        """The phrase, in one of the ways the tale has not had yet."""
        parts = parse(self._phrases[phrase])
        if len(parts) == 3 and isinstance(parts[1], tuple) and parts[1][0] == "choice":
            alternatives = parts[1][1]
            told = self._told.setdefault(phrase, set())
            if len(told) == len(alternatives):
                told.clear()
            index = self._random.choice([index for index in range(len(alternatives)) if index not in told])
            told.add(index)
            return self._expand(alternatives[index], bindings)
        return self._expand(parts, bindings)
