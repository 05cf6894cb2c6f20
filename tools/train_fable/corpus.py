"""Builds the corpus: one JSON line for each tale or chapter, and which tales are held out."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import books
import prose
import sources

# Whole tales kept from training, the tokenizer's too: lesser known ones of every collection, no second version of
# which is in the corpus.
HELD_OUT = frozenset(
    {
        "The Angel",
        "The Storks",
        "The Jumper",
        "The Flying Trunk",
        "The Old Street Lamp",
        "The Silver Shilling",
        "The Portuguese Duck",
        "The Garden of Paradise",
        "The Thistle's Experiences",
        "The Shepherdess and the Sheep",
        "What the Old Man Does is Always Right",
        "Old Sultan",
        "The Queen Bee",
        "The White Snake",
        "King Thrushbeard",
        "The Robber Bridegroom",
        "Robert of Sicily",
        "The Little Half-Chick",
        "The Little Jackal and the Camel",
    }
)


@dataclass(frozen=True)
class Document:
    """A tale (with its title) or a chapter of a longer book (without)."""

    book: str
    title: str
    genre: str
    held_out: bool
    paragraphs: list[str]

    @property
    def text(self) -> str:
        """The document as the model sees it: paragraphs apart by an empty line."""
        return "\n\n".join(self.paragraphs)


def build(archives: Path, destination: Path) -> None:
    """Writes every document to `destination` (JSON lines) and prints what each book gave."""
    total = dropped = 0
    with destination.open("w", encoding="utf-8") as lines:
        for text in sources.TEXTS:
            size = count = 0
            for title, paragraphs in books.sections(text.layout, sources.read(text, archives)):
                held_out = title in HELD_OUT
                if not held_out:  # what is measured on stays as it was written
                    clean = [paragraph for paragraph in paragraphs if not prose.insults(paragraph)]
                    dropped += len(paragraphs) - len(clean)
                    paragraphs = clean
                document = Document(text.title, title, text.genre, held_out, paragraphs)
                lines.write(json.dumps(asdict(document), ensure_ascii=False) + "\n")
                size += len(document.text.encode())
                count += 1
            print(f"{text.title:34} {text.genre:9} {count:4} sections {size / 1e6:6.2f} MB")
            total += size
    print(f"{'':34} {'':9} {'':4} total    {total / 1e6:6.2f} MB")
    print(f"{dropped} paragraphs left out for the words that they use of peoples")


def load(path: Path) -> list[Document]:
    """Reads what `build` wrote."""
    with path.open(encoding="utf-8") as lines:
        return [Document(**json.loads(line)) for line in lines]


def training(documents: list[Document]) -> list[Document]:
    """The documents that may be learned from."""
    return [document for document in documents if not document.held_out]


def held_out(documents: list[Document]) -> list[Document]:
    """The tales that quality is measured on."""
    return [document for document in documents if document.held_out]
