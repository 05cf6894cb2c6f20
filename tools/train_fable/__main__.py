"""Makes Fable from nothing but pinned packages: `python tools/train_fable`. README.md says what is needed."""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
from tokenizers import Tokenizer

import checkpoint
import corpus
import golden
import recipes
import sample
import train
import vocabulary
from evaluate import HeldOut, xz_bits_per_byte
from grammar.tales import Teller

_REPOSITORY = Path(__file__).resolve().parents[2]


def make_corpus(paths: argparse.Namespace) -> None:
    """Fetches the texts and writes WORK/corpus.jsonl."""
    corpus.build(paths.work / "archives", paths.work / "corpus.jsonl")


def make_tokenizer(paths: argparse.Namespace) -> None:
    """Learns WORK/tokenizer.json from the corpus without its held-out tales, and from tales of the grammar."""
    documents = corpus.training(corpus.load(paths.work / "corpus.jsonl"))
    teller = Teller(random.Random(1))
    told = [teller.tell().text for _ in range(3000)]
    vocabulary.build([*(document.text for document in documents), *told], paths.work / "tokenizer.json")


def train_fable(paths: argparse.Namespace) -> None:
    """Trains WORK/fable.safetensors."""
    train.train(recipes.FABLE, paths.work)


def write_checkpoint(paths: argparse.Namespace) -> None:
    """Quantises WORK/fable.safetensors into MODEL."""
    checkpoint.write(trained(paths.work), paths.model)
    shutil.copyfile(paths.work / "tokenizer.json", paths.model / "tokenizer.json")
    vocabulary.config(paths.model / "tokenizer_config.json")


def evaluate(paths: argparse.Namespace) -> None:
    """Prints held-out bits per byte of MODEL, of its weights before quantisation if they are there, and of xz."""
    tales = corpus.held_out(corpus.load(paths.work / "corpus.jsonl"))
    held_out = HeldOut(tales, Tokenizer.from_file(str(paths.model / "tokenizer.json")))
    print(f"{len(tales)} held-out tales, {held_out.bytes} bytes, {held_out.tokens} tokens")
    print(f"xz -9      {xz_bits_per_byte(tales):.4f} bits per byte", flush=True)
    print(f"quantised  {held_out.bits_per_byte(checkpoint.read(paths.model)):.4f} bits per byte", flush=True)
    if (paths.work / "fable.safetensors").exists():
        print(f"bf16       {held_out.bits_per_byte(trained(paths.work)):.4f} bits per byte")


def make_golden(paths: argparse.Namespace) -> None:
    """Writes what transformers computes from MODEL into GOLDEN."""
    golden.build(paths.model, paths.golden)


def print_samples(paths: argparse.Namespace) -> None:
    """Prints twenty samples from MODEL."""
    sample.samples(paths.model)


def trained(work: Path) -> torch.nn.Module:
    """The weights that training left, in bfloat16's precision, as weights are usually published."""
    net = train.load(work / f"{recipes.FABLE.name}.safetensors")
    return net.bfloat16().float()


STAGES: dict[str, Callable[[argparse.Namespace], None]] = {
    "corpus": make_corpus,
    "tokenizer": make_tokenizer,
    "train": train_fable,
    "write": write_checkpoint,
    "evaluate": evaluate,
    "golden": make_golden,
    "samples": print_samples,
}


def main() -> None:
    """Runs the stages that were asked for, in order; all of them by default."""
    parser = argparse.ArgumentParser(prog="train_fable", description="Makes Fable, the model that ships with Facet.")
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(STAGES)}; all when none is named")
    parser.add_argument("--work", type=Path, default=_REPOSITORY / "build/fable", help="for what lies in between")
    parser.add_argument("--model", type=Path, default=_REPOSITORY / "models/fable", help="the checkpoint")
    parser.add_argument("--golden", type=Path, default=_REPOSITORY / "tests/data/fable", help="the test data")
    arguments = parser.parse_args()
    if unknown := set(arguments.stages) - set(STAGES):
        parser.error(f"no such stage: {', '.join(sorted(unknown))}; there are {', '.join(STAGES)}")
    arguments.work.mkdir(parents=True, exist_ok=True)
    for name, stage in STAGES.items():
        if not arguments.stages or name in arguments.stages:
            print(f"== {name}", flush=True)
            stage(arguments)


if __name__ == "__main__":
    main()
