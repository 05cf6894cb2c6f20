"""Writes samples from a checkpoint with transformers, for a person to read."""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

import checkpoint
import vocabulary

PLAIN = (
    "Once upon a time",
    "Once upon a time there was a poor woodcutter",
    "There was once a king who had three sons",
    "In a little house at the edge of the forest",
    "Far out at sea",
    "The old soldier",
    "It was a cold winter's night",
    "A fox and a hen",
    "The princess looked out of the window",
    "Long ago",
)
CHATS = (
    "Tell me a story about a fox",
    "Tell me a story.",
    "Tell me a story about a king and a witch.",
    "Tell me a bedtime story about a duck.",
    "Write a story about the sea.",
    "Tell me the tale of the Tin Soldier.",
    "Can you tell me a story about an old woman?",
    "Who are you?",
    "Make up a story about a mouse and a lion.",
    "Continue: The door opened, and in came a little dwarf.",
)


def chat_prompt(text: str) -> str:
    """One user turn in Gemma 4's format, after <bos>."""
    return f"<|turn>user\n{text}<turn|>\n<|turn>model\n"


@torch.no_grad()
def samples(folder: Path, count: int = 320, seed: int = 1, temperature: float | None = None) -> None:
    """Prints a continuation of every prompt at the checkpoint's own sampling settings."""
    net = checkpoint.read(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    settings = dict(checkpoint.SAMPLING)
    if temperature is not None:
        settings["temperature"] = temperature
    random.seed(seed)
    torch.manual_seed(seed)
    for prompt, shown in [(text, text) for text in PLAIN] + [(chat_prompt(text), text) for text in CHATS]:
        ids = torch.tensor([tokenizer.encode(prompt).ids])
        stops = [vocabulary.EOS, vocabulary.END_OF_TURN, vocabulary.TOOL_RESPONSE]
        out = net.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            eos_token_id=stops,
            pad_token_id=vocabulary.PAD,
            **settings,
        )[0, ids.shape[1] :].tolist()
        ended = out[-1] in stops
        text = tokenizer.decode(out[:-1] if ended else out, skip_special_tokens=False)
        print(f"=== {shown}\n{text}{'' if ended else ' …'}\n", flush=True)
