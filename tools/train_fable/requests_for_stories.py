"""The user's side of the training chats: requests for stories, made from titles and from what a passage is about."""

from __future__ import annotations

import random
import re

BY_TITLE = (
    "Tell me the tale of {title}.",
    "Tell me the story of {title}.",
    "Tell me {title}.",
    "Can you tell me the story of {title}?",
    "Please tell me the tale of {title}.",
    "Do you know {title}? Tell it to me.",
    "I would like to hear {title}.",
    "How does the story of {title} begin?",
    "{title}",
    "Tell us the tale of {title}, please.",
)
BY_SUBJECT = (
    "Tell me a story about {subject}.",
    "Tell me a story about {subject}",
    "Tell me a tale about {subject}.",
    "Tell me a fairy tale about {subject}.",
    "Can you tell me a story about {subject}?",
    "Please tell me a story about {subject}.",
    "I want to hear a story about {subject}.",
    "Write a story about {subject}.",
    "Make up a story about {subject}.",
    "A story about {subject}, please.",
    "Do you know a story about {subject}?",
    "Tell me about {subject}.",
    "Tell a bedtime story about {subject}.",
)
OPEN = (
    "Tell me a story.",
    "Tell me a story",
    "Tell me a fairy tale.",
    "Tell me a bedtime story.",
    "Can you tell me a story?",
    "Please tell me a story.",
    "I want to hear a story.",
    "Write a story.",
    "Tell me another story.",
    "Once more, a story, please!",
)
GO_ON_FROM = (
    "{text}",
    "{text}",
    "Go on with this story: {text}",
    "Continue the story: {text}",
    "Continue: {text}",
    "What happens next? {text}",
    "Here is how a story begins. {text}",
)
ENDING = (
    "How does {title} end?",
    "Tell me the end of {title}.",
    "What happens at the end of {title}?",
)
MORE = (
    "Go on.",
    "Go on",
    "And then?",
    "What happened then?",
    "What happened next?",
    "Please go on.",
    "Continue.",
    "Tell me more.",
    "And what happened after that?",
)
SYSTEMS = (
    "You are a storyteller.",
    "You are Fable, a teller of fairy tales.",
    "You tell fairy tales to children.",
    "You are a helpful assistant.",
    "Answer with a fairy tale.",
    "You are a kind old storyteller who sits by the fire.",
    "Tell stories in the manner of the old fairy tales.",
)

# What a story may be said to be about. The commoner ones are listed first in no order: `subjects` weighs them by how
# often they stand in the passage.
_NOUNS = """
angel ant apple baby ball basket bear bed bee bell bird boat book bottle box boy brother butterfly cake candle
captain castle cat child chimney church city clock cloud coach coat cock coffin cottage cow crown daughter
detective devil dog doctor doll donkey door dove dragon dream duck duckling dwarf eagle egg elephant elf
emperor fairy farmer father field fire fish fisherman flower fool forest fountain fox friend frog garden ghost
giant gentleman girl goat goblin gold goose grandfather grandmother grave hare hat hawk hen hill horse house
hunter hut huntsman island jackal judge key king kitchen knight lady lamb lamp lark lawyer letter lion lizard
looking-glass maid maiden man merchant mermaid mill miller mirror money monkey moon mother mountain mouse
needle nest nightingale nurse oak ocean ogre old man old woman orphan owl ox palace parrot peacock peasant
pearl pig pigeon pirate poet pony prince princess prison queen rabbit rain rat raven river road robber rooster
rose sailor school sea servant shadow sheep shepherd ship shoe shoemaker shop sister snail snake snow
snowflake soldier son sparrow spider spinning-wheel stable star stepmother stork storm stranger student sun
swallow swan sword tailor teacher theatre thief tiger toad tortoise tower toy treasure tree troll turkey
umbrella uncle village violin wedding well whale widow wife wind window windmill witch wizard wolf woodcutter
woman wood
""".split()
_PAIRS = {"old": ("man", "woman", "king", "house", "tree"), "little": ("girl", "boy", "bird", "dog", "tree", "mouse")}
_UNCOUNTED = {"gold", "money", "rain", "snow"}
_UNIQUE = {"sun", "moon", "sea", "wind", "devil", "ocean"}
_NOUN_SET = frozenset(_NOUNS) - {"old"}
_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


def subjects(passage: str, chooser: random.Random) -> str | None:
    """Names one or two things that `passage` is about ("a fox", "a king and an old woman"), or None."""
    counts: dict[str, int] = {}
    previous = ""
    for word in _WORD.findall(passage.lower()):
        noun = word if word in _NOUN_SET else _singular(word)
        if noun:
            name = f"{previous} {noun}" if noun in _PAIRS.get(previous, ()) else noun
            counts[name] = counts.get(name, 0) + 1
        previous = word
    if not counts:
        return None
    names = list(counts)
    weights = [counts[name] ** 2 for name in names]
    first = chooser.choices(names, weights)[0]
    second = chooser.choices(names, weights)[0]
    if first != second and chooser.random() < 0.3:
        return f"{_with_article(first)} and {_with_article(second)}"
    return _with_article(first)


def _singular(word: str) -> str | None:
    for ending, replacement in (("wolves", "wolf"), ("mice", "mouse"), ("children", "child"), ("ies", "y"), ("s", "")):
        if word.endswith(ending) and word[: -len(ending)] + replacement in _NOUN_SET:
            return word[: -len(ending)] + replacement
    return None


def _with_article(name: str) -> str:
    if name in _UNCOUNTED:
        return name
    if name in _UNIQUE:
        return f"the {name}"
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"
