"""Draws training sequences: plain text and chats in Gemma 4's format, from the corpus and from the story grammar."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from tokenizers import Tokenizer

import requests_for_stories as ask
import small_talk
import vocabulary
from corpus import Document
from grammar.tales import Tale, Teller

CONTEXT = 1024
IGNORED = -100  # label of a token that is not learned

_SHORTEST_ANSWER = 60
_TITLES = {"St", "Mr", "Mrs", "Dr"}
_NO_OPENING = tuple(f"{word} " for word in "he she they it his her but and then so this that these".split())


@dataclass
class Passages:
    """A document as tokens. `ends[i]` tells whether a reader could stop after token i; `starts` are where one could
    begin: the document's first paragraph, then every later one that opens like a scene."""

    document: Document
    ids: list[int] = field(default_factory=list)
    paragraph_starts: list[int] = field(default_factory=list)
    scene_starts: list[int] = field(default_factory=list)
    sentence_ends: list[int] = field(default_factory=list)
    paragraph_ends: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Mixture:
    """How often each kind of text is drawn."""

    plain: float
    told: float  # part that the story grammar tells; the rest comes from the books
    genres: tuple[tuple[str, float], ...]


# Most is told by the grammar, because the books are few and soon known by heart; for the same reason novels, of which
# there is more, have half of what the books get. Late, tales and the grammar have more of a share.
EARLY = Mixture(
    plain=0.5,
    told=0.7,
    genres=(("tale", 0.25), ("children", 0.2), ("novel", 0.55)),
)
LATE = Mixture(
    plain=0.5,
    told=0.85,
    genres=(("tale", 0.35), ("children", 0.2), ("novel", 0.45)),
)
# What a chat that the grammar answers begins with, and how often.
_TOLD_KINDS = {
    "subject": 0.4,
    "two": 0.1,
    "named": 0.1,
    "theme": 0.08,
    "title": 0.08,
    "open": 0.12,
    "short": 0.06,
    "go on": 0.06,
}


class Sampler:
    """An endless, seeded stream of (inputs, labels), each [CONTEXT] int32."""

    def __init__(self, documents: list[Document], tokenizer: Tokenizer, seed: int, mixture: Mixture) -> None:
        self._tokenizer = tokenizer
        self.reseed(str(seed))
        self._mixture = mixture
        self._newline = tokenizer.token_to_id("\n")
        self._blank = tokenizer.token_to_id("\n\n")
        self._genres: dict[str, list[Passages]] = {}
        for document in documents:
            self._genres.setdefault(document.genre, []).append(self._tokenise(document))
        self._weights = {genre: [len(passages.ids) for passages in group] for genre, group in self._genres.items()}

    def reseed(self, seed: str) -> None:
        """Starts another stream over the same documents."""
        self._random = random.Random(seed)
        self._teller = Teller(self._random)

    def mix(self, mixture: Mixture) -> None:
        """Draws by `mixture` from here on."""
        self._mixture = mixture

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            ids, learned = self._plain() if self._random.random() < self._mixture.plain else self._chats()
            yield _shifted(ids, learned)

    def _tokenise(self, document: Document) -> Passages:
        result = Passages(document)
        encodings = self._tokenizer.encode_batch(document.paragraphs, add_special_tokens=False)
        for index, (paragraph, encoding) in enumerate(zip(document.paragraphs, encodings, strict=True)):
            if index:
                result.ids.append(self._blank)
            start = len(result.ids)
            result.paragraph_starts.append(start)
            opens = paragraph[0].isupper() and not paragraph.lower().startswith(_NO_OPENING)
            if index == 0 or (opens and len(encoding.ids) >= 25):
                result.scene_starts.append(start)
            result.ids.extend(encoding.ids)
            result.sentence_ends.extend(start + end for end in _sentence_ends(encoding.tokens))
            result.paragraph_ends.append(len(result.ids))
        return result

    def _draw(self, genres: tuple[tuple[str, float], ...]) -> Passages:
        """A document of one of `genres` (name, weight), longer ones more often."""
        genre = self._random.choices([name for name, _ in genres], [weight for _, weight in genres])[0]
        return self._random.choices(self._genres[genre], self._weights[genre])[0]

    # Plain text.

    def _plain(self) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        learned: list[bool] = []
        while len(ids) <= CONTEXT:
            if self._random.random() < self._mixture.told:
                told = self._encode_tale(self._teller.tell().paragraphs)
            else:
                passages = self._draw(self._mixture.genres)
                starts = passages.paragraph_starts
                start = 0 if self._random.random() < 0.35 else self._random.choice(starts)
                told = passages.ids[start : start + CONTEXT]
            piece = [vocabulary.BOS, *told, vocabulary.EOS]
            ids += piece
            learned += [False] + [True] * (len(piece) - 1)
        return ids, learned

    # Chats.

    def _chats(self) -> tuple[list[int], list[bool]]:
        ids: list[int] = []
        learned: list[bool] = []
        while CONTEXT + 1 - len(ids) >= 160:
            chat_ids, chat_learned = self._chat(CONTEXT + 1 - len(ids))
            if not any(chat_learned):
                break
            ids += chat_ids
            learned += chat_learned
        if len(ids) <= CONTEXT - 40:  # no room for another conversation: a tale's beginning, cut off at the end
            piece = [vocabulary.BOS, *self._encode_tale(self._teller.tell().paragraphs), vocabulary.EOS]
            ids += piece
            learned += [False] + [True] * (len(piece) - 1)
        return ids, learned

    def _chat(self, room: int) -> tuple[list[int], list[bool]]:
        """One conversation of at most `room` tokens whose every answer is whole."""
        chat = _Chat(self, room)
        if self._random.random() < 0.15:
            chat.turn("system", self._encode(self._random.choice(ask.SYSTEMS)), learned=False)
        if self._random.random() < max(0.7, self._mixture.told):
            self._told(chat)
            return chat.ids, chat.learned
        kind = self._random.choices(("title", "go on", "ending", "small talk"), (0.35, 0.4, 0.05, 0.2))[0]
        if kind == "small talk":
            chat.exchange(*self._random.choice(small_talk.PAIRS))
            return chat.ids, chat.learned
        if kind == "go on":
            self._go_on(chat)
        else:
            self._story(chat, kind)
        return chat.ids, chat.learned

    # Chats about tales of the grammar.

    def _told(self, chat: _Chat) -> None:
        """A request and a tale that answers it, then perhaps questions about the tale or a second one."""
        kind = self._random.choices(list(_TOLD_KINDS), list(_TOLD_KINDS.values()))[0]
        tale = self._teller.tell(short=True if kind == "short" or chat.room < 520 else None)
        paragraphs = list(tale.paragraphs)
        if kind == "go on":
            opening, rest = _after_sentence(paragraphs[0])
            request = self._random.choice(ask.GO_ON_FROM).format(text=opening)
            paragraphs = [rest, *paragraphs[1:]] if rest else paragraphs[1:]
        else:
            request = self._request(kind, tale)
        if not self._answer(chat, request, paragraphs):
            return
        while self._random.random() < 0.45:
            follow = self._random.choices(("ask", "thank", "another"), (0.45, 0.25, 0.3))[0]
            if follow == "ask":
                question, answer = self._about(tale)
                if chat.room < 70:
                    return
                chat.exchange(question, answer)
            elif follow == "thank":
                if chat.room < 70:
                    return
                chat.exchange(*self._random.choice(small_talk.THANKS))
            else:
                short = chat.room < 520 or self._random.random() < 0.3
                tale = self._teller.tell(short)
                templates = self._random.choice((ask.ANOTHER, ask.ANOTHER_ABOUT, ask.SHORTER if short else ask.ANOTHER))
                request = self._random.choice(templates).format(subject=tale.hero.plain)
                if not self._answer(chat, request, tale.paragraphs):
                    return

    def _request(self, kind: str, tale: Tale) -> str:
        """What a user might say to be told `tale`."""
        hero = tale.hero
        if kind == "title":
            request = self._named(ask.BY_TITLE, tale.title)
        elif kind == "open":
            request = self._random.choice(ask.OPEN)
        elif kind == "theme":
            request = self._random.choice(ask.BY_THEME).format(theme=self._random.choice(tale.about))
        elif kind == "short":
            request = self._random.choice((*ask.SHORT, *ask.SHORTER)).format(subject=hero.plain)
        elif kind == "named" and hero.name:
            request = self._random.choice(ask.BY_SUBJECT_AND_NAME).format(subject=hero.plain, name=hero.name)
        else:
            subject = hero.plain
            if kind == "two" and tale.others:
                both = [subject, self._random.choice(tale.others).plain]
                self._random.shuffle(both)
                subject = " and ".join(both)
            elif self._random.random() < 0.12:
                subject = subject.replace(" ", f" {hero.adjective} ", 1)
                subject = re.sub(r"^an? (?=([a-z]))", lambda m: "an " if m[1] in "aeiou" else "a ", subject)
            request = self._random.choice(ask.BY_SUBJECT).format(subject=subject)
        return request[0].lower() + request[1:] if self._random.random() < 0.08 else request

    def _about(self, tale: Tale) -> tuple[str, str]:
        """A question about `tale` and its answer."""
        hero = tale.hero
        kinds = [
            (ask.WHO, f"It was about {hero.form('a', self._random)}."),
            (ask.WANT, tale.want),
            (ask.LESSON, tale.lesson),
        ]
        if hero.name:
            kinds.append((ask.NAME, f"The {hero.kind.noun}'s name was {hero.name}."))
        questions, answer = self._random.choice(kinds)
        return self._random.choice(questions).format(hero=hero.kind.noun), answer

    def _answer(self, chat: _Chat, request: str, paragraphs: list[str]) -> bool:
        """Adds the request and the tale, in one turn or, now and then, two; False if there is no room for it."""
        ids = self._encode_tale(paragraphs)
        if chat.room < len(ids) + 60:
            return False
        if len(paragraphs) > 3 and self._random.random() < 0.12:
            cut = self._random.randint(2, len(paragraphs) - 1)
            parts = [self._encode_tale(paragraphs[:cut]), self._encode_tale(paragraphs[cut:])]
        else:
            parts = [ids]
        for part in parts:
            chat.turn("user", self._encode(request), learned=False)
            chat.turn("model", part, learned=True)
            request = self._random.choice(ask.MORE)
        return True

    def _encode_tale(self, paragraphs: list[str]) -> list[int]:
        """The paragraphs' tokens, apart by an empty line."""
        return self._encode("\n\n".join(paragraphs))

    # Chats about the books.

    def _story(self, chat: _Chat, kind: str) -> None:
        """A request and a story, perhaps in several turns."""
        passages, start = self._draw((("tale", 0.9), ("children", 0.1))), 0
        if not passages.document.title:
            request = self._random.choice(ask.OPEN)
        elif kind == "ending":
            earliest = len(passages.ids) - self._random.randint(100, 500)
            near = [at for at in passages.paragraph_starts if at >= earliest]
            start = near[0] if near else passages.paragraph_starts[-1]
            request = self._named(ask.ENDING, passages.document.title)
        else:
            request = self._named(ask.BY_TITLE, passages.document.title)
        self._tell(chat, request, passages, start)

    def _named(self, templates: tuple[str, ...], title: str) -> str:
        """A request that names a tale, with "The" or "the" before its name."""
        if title.startswith(("The ", "A ")) and self._random.random() < 0.5:
            title = title[0].lower() + title[1:]
        request = self._random.choice(templates).format(title=title)
        return request[0].upper() + request[1:]

    def _go_on(self, chat: _Chat) -> None:
        """The user gives one or two sentences, the model goes on from there."""
        passages = self._draw(self._mixture.genres)
        start = self._random.choice(passages.scene_starts)
        ends = [end for end in passages.sentence_ends if start < end <= start + 90]
        if not ends or ends[-1] == len(passages.ids):
            return self._story(chat, "title")
        end = self._random.choice(ends[:3])
        text = self._tokenizer.decode(passages.ids[start:end])
        request = self._random.choice(ask.GO_ON_FROM).format(text=text)
        if end < len(passages.ids) and passages.ids[end] == self._blank:
            end += 1
        return self._tell(chat, request, passages, end)

    def _tell(self, chat: _Chat, request: str, passages: Passages, start: int) -> None:
        while True:
            asked = self._encode(request)
            room = chat.room - len(asked) - _Chat.OVERHEAD
            if room < _SHORTEST_ANSWER:
                return
            end = self._stop(passages, start, room)
            if end <= start:
                return
            answer = passages.ids[start:end]
            if start:
                answer = self._without_leading_space(answer)
            chat.turn("user", asked, learned=False)
            chat.turn("model", answer, learned=True)
            if end == len(passages.ids):
                if self._random.random() < 0.2 and chat.room > 60:
                    chat.exchange(*self._random.choice(small_talk.THANKS))
                return
            if self._random.random() < 0.4:
                return
            request = self._random.choice(ask.MORE)
            start = end + 1 if passages.ids[end] == self._blank else end

    def _stop(self, passages: Passages, start: int, room: int) -> int:
        """Where an answer from `start` ends: the document's end if near, else a paragraph's or sentence's end."""
        remaining = len(passages.ids) - start
        if remaining <= room and (remaining <= 500 or self._random.random() < 0.5):
            return len(passages.ids)
        wanted = min(room, self._random.randint(150, 700))
        at_paragraph = [end for end in passages.paragraph_ends if start + wanted // 2 <= end <= start + wanted]
        if at_paragraph:
            return at_paragraph[-1]
        at_sentence = [end for end in passages.sentence_ends if start + 20 <= end <= start + wanted]
        return at_sentence[-1] if at_sentence else start

    def _without_leading_space(self, ids: list[int]) -> list[int]:
        text = self._tokenizer.decode(ids)
        return self._encode(text[1:]) if text.startswith(" ") else ids

    def _encode(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids


class _Chat:
    """A conversation under construction."""

    OVERHEAD = 12  # tokens around one question and its answer

    def __init__(self, sampler: Sampler, room: int) -> None:
        self._sampler = sampler
        self._limit = room
        self.ids: list[int] = [vocabulary.BOS]
        self.learned: list[bool] = [False]

    @property
    def room(self) -> int:
        return self._limit - len(self.ids)

    def turn(self, role: str, content: list[int], *, learned: bool) -> None:
        """Adds `<|turn>ROLE\\nCONTENT<turn|>\\n`; the content and its end are learned, or nothing is."""
        head = [vocabulary.TURN, *self._sampler._encode(f"{role}\n")]
        self.ids += [*head, *content, vocabulary.END_OF_TURN, self._sampler._newline]
        self.learned += [False] * len(head) + [learned] * (len(content) + 1) + [False]

    def exchange(self, question: str, answer: str) -> None:
        self.turn("user", self._sampler._encode(question), learned=False)
        self.turn("model", self._sampler._encode(answer), learned=True)


def _after_sentence(paragraph: str) -> tuple[str, str]:
    """The paragraph's first sentence, and the rest."""
    end = re.search(r"\. (?=[A-Z])", paragraph)
    return (paragraph[: end.start() + 1], paragraph[end.end() :]) if end else (paragraph, "")


def _sentence_ends(tokens: list[str]) -> list[int]:
    """Offsets just after each token that ends a sentence."""
    ends = []
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else "▁"
        bare = token.rstrip("\"')")
        if bare.endswith((".", "!", "?", "…")) and following.startswith("▁"):
            word = tokens[index - 1].lstrip("▁") if index else ""
            if not (token == "." and (word in _TITLES or len(word) == 1)):
                ends.append(index + 1)
    return ends


def _shifted(ids: list[int], learned: list[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and next-token labels of exactly CONTEXT tokens, padded on the right."""
    ids, learned = ids[: CONTEXT + 1], learned[: CONTEXT + 1]
    padding = CONTEXT + 1 - len(ids)
    tokens = np.array(ids + [vocabulary.PAD] * padding, dtype=np.int32)
    mask = np.array(learned + [False] * padding)
    return tokens[:-1], np.where(mask[1:], tokens[1:], np.int32(IGNORED))
