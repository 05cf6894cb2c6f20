"""Writes samples from a checkpoint with transformers, for a person to read."""

from __future__ import annotations

from pathlib import Path

import torch
from tokenizers import Tokenizer
from transformers import Gemma4ForCausalLM

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
STOPS = (vocabulary.EOS, vocabulary.END_OF_TURN, vocabulary.TOOL_RESPONSE)


def chat_prompt(text: str) -> str:
    """One user turn in Gemma 4's format, after <bos>."""
    return f"<|turn>user\n{text}<turn|>\n<|turn>model\n"


@torch.no_grad()
def continuations(net: Gemma4ForCausalLM, tokenizer: Tokenizer, prompts: list[str], count: int) -> list[str]:
    """At most `count` tokens after each prompt, all drawn at once at the checkpoint's own sampling settings."""
    device = next(net.parameters()).device
    encoded = [tokenizer.encode(prompt).ids for prompt in prompts]
    longest = max(map(len, encoded))
    ids = torch.tensor([[vocabulary.PAD] * (longest - len(row)) + row for row in encoded], device=device)
    out = net.generate(
        ids,
        attention_mask=(ids != vocabulary.PAD).long(),
        max_new_tokens=count,
        eos_token_id=list(STOPS),
        pad_token_id=vocabulary.PAD,
        **checkpoint.SAMPLING,
    )[:, longest:].tolist()
    return [_text(tokenizer, row) for row in out]


def _text(tokenizer: Tokenizer, ids: list[int]) -> str:
    """The text up to the first token that stops, or an ellipsis where none did."""
    end = next((at for at, token in enumerate(ids) if token in STOPS), None)
    text = tokenizer.decode(ids[:end], skip_special_tokens=False)
    return text if end is not None else f"{text} …"


def samples(folder: Path, count: int = 320, seed: int = 1) -> None:
    """Prints a continuation of every prompt."""
    net = checkpoint.read(folder)
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    torch.manual_seed(seed)
    for shown, prompts in ((PLAIN, list(PLAIN)), (CHATS, [chat_prompt(text) for text in CHATS])):
        for prompt, text in zip(shown, continuations(net, tokenizer, prompts, count), strict=True):
            print(f"=== {prompt}\n{text}\n", flush=True)
