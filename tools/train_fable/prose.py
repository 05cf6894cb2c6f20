"""Turns hard-wrapped plain-text books into clean paragraphs with one typographic convention."""

from __future__ import annotations

import re

_VERSE_INDENT = 3
_SENTENCE_END = re.compile(r"""[.!?…]["')]*$""")
# Words for peoples that the books use as insults, or that have become insults.
_INSULTS = re.compile(
    r"\b(?:nig+[aeu]r\w*|negro\w*|negress\w*|dark(?:y|ey|ies)|blackamoors?|coolies?|chinam[ae]n|injuns?|redskins?"
    r"|squaws?|half-breeds?|mulatto\w*|jew(?:s|ess|esses|ish)?|jewy|gipsy|gips(?:y's|ies)|gyps(?:y|ies)|hottentots?"
    r"|heathens?|savages|dagoes?|dagos?|mohammedans?|blacks)\b",
    re.IGNORECASE,
)


def paragraphs(text: str) -> list[str]:
    """Splits `text` at blank lines, unwraps prose, keeps the line breaks of verse and drops what is not narrative."""
    result = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        verse = len(lines) > 1 and all(len(line) - len(line.lstrip()) >= _VERSE_INDENT for line in lines)
        joined = "\n".join(line.strip() for line in lines) if verse else " ".join(line.strip() for line in lines)
        cleaned = normalise(joined)
        if _is_narrative(cleaned):
            result.append(cleaned)
    return result


def normalise(text: str) -> str:
    """Straight double quotes around speech, straight apostrophes, em dashes, single spaces, no mark-up."""
    text = _double_the_quotes(text)
    text = text.translate(str.maketrans({"“": '"', "”": '"', "‘": "'", "’": "'", "\t": " ", "\u00a0": " "}))
    text = re.sub(r"(?<=[a-z])- (?=[a-z])", "-", text)
    text = re.sub(r"\[[^\]]{0,80}\]", "", text)
    text = re.sub(r"_([^_\n]+)_", r"\1", text)
    text = text.replace("_", "").replace("*", "")
    text = re.sub(r"\s*-{2,}\s*", "—", text)
    text = re.sub(r"\.{3,}|(?:\. ){2,}\.", "…", text)
    text = re.sub(r" {2,}", " ", text)
    text = re.sub(r" +([,.;:!?])", r"\1", text)
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def ends_a_sentence(text: str) -> bool:
    """Whether `text` stops where a reader would accept a stop."""
    return _SENTENCE_END.search(text) is not None


def insults(text: str) -> bool:
    """Whether `text` has a word for a people that nobody should learn from it."""
    return _INSULTS.search(text) is not None


def _double_the_quotes(text: str) -> str:
    """Rewrites British ‘speech’ as "speech"; an apostrophe is told from a closing quote by what stands around it."""
    if "‘" not in text:
        return text
    text = text.replace("‘", '"')
    return re.sub(r"(?<=[.,!?;:—-])’(?=\s|$|[—\-\"”)])", '"', text)


def _is_narrative(text: str) -> bool:
    """Rejects headings, tables, rules of asterisks and stage directions: too little lower-case text."""
    letters = sum(char.isalpha() for char in text)
    lower = sum(char.islower() for char in text)
    return letters >= 2 and lower >= 0.6 * letters and letters >= 0.5 * len(text)
