"""Trains Fable's tokenizer: byte-fallback BPE in Gemma's conventions, written as a `tokenizer.json`.

Merges are learned inside words only (a word carries the "▁" before it, and letters do not merge with punctuation),
while the written file has only Gemma 4's pre-tokeniser, which splits runs of newlines from the rest. Both encode
alike, because no merge joins what the finer split keeps apart; `build` proves it on the whole corpus.
"""

from __future__ import annotations

import json
import string
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

SIZE = 6144
PAD, EOS, BOS, UNK = 0, 1, 2, 3
TURN, END_OF_TURN, TOOL_RESPONSE = 105, 106, 50
NAMED = {
    PAD: "<pad>",
    EOS: "<eos>",
    BOS: "<bos>",
    UNK: "<unk>",
    46: "<|tool>",
    47: "<tool|>",
    48: "<|tool_call>",
    49: "<tool_call|>",
    TOOL_RESPONSE: "<|tool_response>",
    51: "<tool_response|>",
    52: '<|"|>',
    98: "<|think|>",
    100: "<|channel>",
    101: "<channel|>",
    TURN: "<|turn>",
    END_OF_TURN: "<turn|>",
}
FIRST_BYTE = 107
FIRST_LEARNED = FIRST_BYTE + 256
# All characters of the corpus but "~" and "à", which stand in it once. Left to itself the trainer drops two of those
# that do at random; the shipped weights belong to this choice.
_ALPHABET = "\n▁!\"$%&'()+,-./:;<>?@[]^`{}–—…âèéî" + string.digits + string.ascii_letters
_WORDS = Regex(r"\d|▁?[\p{L}\p{M}']+|▁?[^\p{L}\p{M}'\d▁\n]+|▁")
_NEWLINES = Regex(r"[^\n]+|\n+")


def build(texts: Iterable[str], destination: Path) -> Tokenizer:
    """Learns the vocabulary from `texts`, writes `tokenizer.json` and checks the claim of the module's docstring."""
    texts = list(texts)
    learner = _learner()
    learned = SIZE - FIRST_LEARNED
    roles = ["system\n", "user\n", "model\n"] * 2000
    trainer = trainers.BpeTrainer(
        vocab_size=learned,
        initial_alphabet=list(_ALPHABET),
        limit_alphabet=len(_ALPHABET),
        show_progress=False,
        special_tokens=[],
    )
    learner.train_from_iterator([*texts, *roles], trainer)
    trained = json.loads(learner.to_str())["model"]
    if len(trained["vocab"]) != learned:
        raise RuntimeError(f"expected {learned} learned tokens, got {len(trained['vocab'])}")

    destination.write_text(json.dumps(_document(trained), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    written = Tokenizer.from_file(str(destination))
    _check_equal(learner, written, texts)
    return written


def _learner() -> Tokenizer:
    learner = Tokenizer(models.BPE())
    learner.normalizer = normalizers.Replace(" ", "▁")
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(_NEWLINES, "isolated"), pre_tokenizers.Split(_WORDS, "isolated")]
    )
    return learner


def _document(trained: dict) -> dict:
    """The `tokenizer.json`: Gemma's ids for the named tokens, then bytes, then what was learned."""
    vocab = {NAMED.get(index, f"<unused{index}>"): index for index in range(FIRST_BYTE)}
    vocab |= {f"<0x{byte:02X}>": FIRST_BYTE + byte for byte in range(256)}
    learned = sorted(trained["vocab"], key=trained["vocab"].get)
    vocab |= {token: FIRST_LEARNED + index for index, token in enumerate(learned)}
    bos = NAMED[BOS]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, content in NAMED.items()
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"Regex": "[^\\n]+|[\\n]+"},
            "behavior": "Isolated",
            "invert": False,
        },
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": bos, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [
                {"SpecialToken": {"id": bos, "type_id": 0}},
                {"Sequence": {"id": "A", "type_id": 0}},
                {"SpecialToken": {"id": bos, "type_id": 1}},
                {"Sequence": {"id": "B", "type_id": 1}},
            ],
            "special_tokens": {bos: {"id": bos, "ids": [BOS], "tokens": [bos]}},
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": NAMED[UNK],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": trained["merges"],
        },
    }


def _check_equal(learner: Tokenizer, written: Tokenizer, texts: list[str]) -> None:
    """Fails if the finer split of training and the written pre-tokeniser ever encode differently."""
    learner.model = written.model
    tokens = size = 0
    for text in texts:
        fine, coarse = learner.encode(text), written.encode(text, add_special_tokens=False)
        if fine.ids != coarse.ids:
            raise RuntimeError(f"the two splits encode differently: {text[:80]!r}")
        if written.decode(coarse.ids, skip_special_tokens=False) != text:
            raise RuntimeError(f"decoding does not give the text back: {text[:80]!r}")
        tokens += len(coarse.ids)
        size += len(text.encode())
    print(f"{SIZE} tokens; the corpus is {tokens} tokens, {size / tokens:.2f} bytes each; both splits encode alike")


def config(destination: Path) -> None:
    """Writes `tokenizer_config.json`."""
    fields = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": NAMED[BOS],
        "eos_token": NAMED[EOS],
        "pad_token": NAMED[PAD],
        "unk_token": NAMED[UNK],
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1024,
    }
    destination.write_text(json.dumps(fields, indent=1) + "\n", encoding="utf-8")
