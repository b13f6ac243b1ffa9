"""Writes a tiny llama model with random weights: 34,000 numbers, the same ones for the same seed.

It answers at once, and what it says means nothing, but the server around it is the real one. Two
channels of the residual stream steer it. Channel 0 is constant, which makes a column of the output
matrix a bias: English words are likely, letters possible, other bytes never come, and the end has odds
of one in `MEAN_TOKENS`: free text ends by itself (at temperature 0 it does not: send `max_tokens`).
Channel 1 is set at a newline only, as at the end of the prompt, and forbids the end: no answer is empty.

    python tests/servers/tiny_model.py tiny.gguf
"""

import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
from gguf import GGUFWriter, PoolingType, TokenType
from numpy.typing import NDArray

CONTEXT = 32768
DIM, FEED_FORWARD = 32, 64  # one layer with one head: attention over a long prompt stays cheap
MEAN_TOKENS = 40
NEVER = -30.0
STEER = 8.0

TEMPLATE = """\
{%- for m in messages %}<|im_start|>{{ m.role }}
{{ m.content }}<|im_end|>
{% endfor %}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

WORDS = (
    "the a of to and is in we agent plan step task review code test result graph node state "
    "check done next model tool call data error fix build note idea risk goal"
)


class Vocabulary(NamedTuple):
    """Every byte, the words with the beginnings that lead to them, and the control tokens."""

    tokens: list[str]
    merges: list[str]
    bias: list[float]

    @property
    def end_of_text(self) -> int:
        return len(self.tokens) - 3

    @property
    def end_of_turn(self) -> int:
        return len(self.tokens) - 1

    @property
    def types(self) -> list[TokenType]:
        return [TokenType.NORMAL] * self.end_of_text + [TokenType.CONTROL] * 3


def write_tiny_model(
    path: Path, *, seed: int = 0, context: int = CONTEXT, tensors_per_file: int = 0, embeds: bool = False
) -> Path:
    """Write the model as a GGUF file of 150 kB, or as several ones.

    One that embeds gives each text the mean of its tokens' vectors: texts with the same words are similar.
    """
    words = vocabulary()
    writer = GGUFWriter(path, "llama", split_max_tensors=tensors_per_file)
    _describe(writer, words, context)
    if embeds:
        writer.add_pooling_type(PoolingType.MEAN)
    for name, weights in _weights(words, np.random.default_rng(seed)).items():
        writer.add_tensor(f"{name}.weight", np.ascontiguousarray(weights, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def vocabulary() -> Vocabulary:
    tokens = _byte_characters()
    bias = [0.0 if chr(b).isalnum() or chr(b) in '.,"{}[]:-_' else NEVER for b in range(128)] + [NEVER] * 128
    bias[ord(" ")] = 2.0
    merges = []
    for word in WORDS.split():  # " word" is one token, which a chain of merges leads to
        part = tokens[ord(" ")]
        for letter in word:
            if part + letter not in tokens:
                merges.append(f"{part} {letter}")
                tokens.append(part + letter)
                bias.append(NEVER)
            part += letter
        bias[tokens.index(part)] = 3.0
    tokens += ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bias += [NEVER, NEVER, float(np.log(np.exp(bias).sum() / MEAN_TOKENS))]
    return Vocabulary(tokens, merges, bias)


def _byte_characters() -> list[str]:
    """GPT-2's printable character for each byte."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte if byte in printable else 256 + others.index(byte)) for byte in range(256)]


def _describe(writer: GGUFWriter, words: Vocabulary, context: int) -> None:
    writer.add_name("tiny-random-llama")
    writer.add_context_length(context)
    writer.add_embedding_length(DIM)
    writer.add_block_count(1)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_rope_dimension_count(DIM)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(words.tokens))
    writer.add_file_type(0)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.types)
    writer.add_token_merges(words.merges)
    writer.add_bos_token_id(words.end_of_text)
    writer.add_eos_token_id(words.end_of_turn)
    writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def _weights(words: Vocabulary, rng: np.random.Generator) -> dict[str, NDArray[np.float64]]:
    def random(rows: int, columns: int) -> NDArray[np.float64]:
        return rng.normal(0, columns**-0.5, (rows, columns))

    def beside_the_two(rows: int, columns: int) -> NDArray[np.float64]:
        weights = random(rows, columns)
        weights[:2] = 0.0
        return weights

    embedding = rng.normal(0, 1, (len(words.tokens), DIM))
    embedding[:, :2] = STEER, 0.0
    embedding[ord("\n"), 1] = STEER
    output = rng.normal(0, 0.6, (len(words.tokens), DIM))
    output[:, 0] = np.array(words.bias) / _channel_0_at_the_end()
    output[:, 1] = 0.0
    output[words.end_of_turn, 1] = NEVER
    return {
        "token_embd": embedding,
        "blk.0.attn_norm": np.ones(DIM),
        "blk.0.attn_q": random(DIM, DIM),
        "blk.0.attn_k": random(DIM, DIM),
        "blk.0.attn_v": random(DIM, DIM),
        "blk.0.attn_output": beside_the_two(DIM, DIM),
        "blk.0.ffn_norm": np.ones(DIM),
        "blk.0.ffn_gate": random(FEED_FORWARD, DIM),
        "blk.0.ffn_up": random(FEED_FORWARD, DIM),
        "blk.0.ffn_down": beside_the_two(DIM, FEED_FORWARD),
        "output_norm": np.array([1.0] * 2 + [0.05] * (DIM - 2)),  # 0.05: how far the context moves the odds
        "output": output,
    }


def _channel_0_at_the_end() -> float:
    """The constant after the last norm, when the other channels are of about unit size."""
    return float(STEER / np.sqrt((STEER**2 + DIM - 2) / DIM))


if __name__ == "__main__":
    write_tiny_model(Path(sys.argv[1]))
