#!/usr/bin/env python3
"""Makes tiny-tokenizer.json, a Gemma-4-shaped tokenizer of 876 tokens, and tiny-encodings.jsonl, what
Hugging Face `tokenizers` makes of random texts with it. Needs `pip install tokenizers`. Deterministic.

    python3 tests/data/text/make_tiny_tokenizer.py
"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from tokenizers import trainers

HERE = pathlib.Path(__file__).parent

CONTROL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<|tool>", "<tool|>", "<|tool_call>", "<tool_call|>",
           "<|tool_response>", "<tool_response|>", "<|\"|>", "<|think|>", "<|channel>", "<channel|>", "<|turn>",
           "<turn|>"]
USER_DEFINED = ["<table>", "</table>", "<tab", "\t\t"]
BYTES = [f"<0x{b:02X}>" for b in range(256)]

SENTENCES = """The river carried the boats past the mill, and the miller's children waved at each of them.
She counted 12 herons, 7 otters and one very old pike; then it began to rain.
thought
call:get_weather{city:value,days:3,units:[metric]} response:get_weather{value:sunny}
def area(width, height):
    return width * height


for row in table:
    print(row[0], row[1])
Über den Hügel führt ein schmaler Weg, größer als früher.
Le garçon préfère déjà l'été à l'hiver.
Река течёт медленно, и лодки стоят у берега.
川の流れは静かで、舟は岸につながれている。
天气很好，我们去河边散步吧。
user model system assistant tool description parameters properties required type string number
""" * 8


def make_tokenizer():
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("\\n+"), behavior="isolated")
    tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    trainer = trainers.BpeTrainer(vocab_size=900, special_tokens=CONTROL + USER_DEFINED + BYTES, show_progress=False,
                                  initial_alphabet=[chr(c) for c in range(0x21, 0x7F)] + ["\n", "\t"])
    tokenizer.train_from_iterator([SENTENCES], trainer)

    tree = json.loads(tokenizer.to_str())
    vocab = tree["model"]["vocab"]
    tree["added_tokens"] = [
        {"id": vocab[token], "content": token, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False, "special": token in CONTROL}
        for token in CONTROL + USER_DEFINED]
    # One added token behind the vocabulary and one that is matched after normalization.
    tree["added_tokens"].append({"id": len(vocab), "content": "<image_soft_token>", "single_word": False,
                                 "lstrip": False, "rstrip": False, "normalized": False, "special": True})
    tree["added_tokens"].append({"id": len(vocab) + 1, "content": "the end", "single_word": False,
                                 "lstrip": False, "rstrip": False, "normalized": True, "special": False})
    text = json.dumps(tree, ensure_ascii=False, indent=1)
    tokenizer = Tokenizer.from_str(text)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", tokenizer.token_to_id("<bos>"))])
    (HERE / "tiny-tokenizer.json").write_text(
        json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=False, separators=(",", ":")) + "\n")
    return tokenizer


def random_text(rng):
    words = SENTENCES.split()
    pieces = [lambda: rng.choice(words), lambda: " " * rng.randint(1, 4), lambda: "\n" * rng.randint(1, 4),
              lambda: "\t" * rng.randint(1, 3), lambda: rng.choice(CONTROL + USER_DEFINED),
              lambda: rng.choice(CONTROL)[: rng.randint(1, 8)], lambda: chr(rng.randint(0x20, 0x7E)),
              lambda: chr(rng.choice([0, 1, 0x7F, 0xA0, 0xE9, 0x301, 0x200D, 0x2581, 0x3042, 0xFFFD, 0xFFFF,
                                      0x1F600, 0x1F9D1, 0x10FFFF])),
              lambda: rng.choice(["the end", "the▁end", "<0x0A>", "<image_soft_token>", "a" * 40])]
    return "".join(rng.choice(pieces)() + rng.choice(["", "", " "]) for _ in range(rng.randint(0, 24)))


def main():
    tokenizer = make_tokenizer()
    rng = random.Random(4)
    with open(HERE / "tiny-encodings.jsonl", "w") as out:
        for _ in range(300):
            text = random_text(rng)
            tokenizer.encode_special_tokens = False
            ids = tokenizer.encode(text).ids
            tokenizer.encode_special_tokens = True
            plain = tokenizer.encode(text, add_special_tokens=False).ids
            record = {"text": text, "ids": ids, "ids_special_as_text": plain,
                      "decoded": tokenizer.decode(ids, skip_special_tokens=False),
                      "decoded_without_special": tokenizer.decode(ids, skip_special_tokens=True)}
            out.write(json.dumps(record, ensure_ascii=True) + "\n")


if __name__ == "__main__":
    main()
