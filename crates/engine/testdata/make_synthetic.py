"""Writes synthetic-bert/: a two-layer BERT with random weights, small enough to commit, and reference.json,
its vectors computed here in float64 by a restatement that shares no code with the engine.

    python3 -m venv /tmp/venv && /tmp/venv/bin/pip install numpy
    /tmp/venv/bin/python crates/engine/testdata/make_synthetic.py

The seed is fixed: running it again changes no byte.
"""

import json
import math
import pathlib
import string
import struct

import numpy as np

HIDDEN, HEADS, FFN, LAYERS = 32, 4, 64, 2
POSITIONS, MAX_SEQ_LENGTH = 128, 64
EPS = 1e-12
WORD_CHARS_MAX = 100
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """a about all also an and any are as at back be because but by can come could cat day deadline do dog
even find first fox for from get give go good gpu have he her him his how i if in into it its jump jumps just
know lane lazy like look make many me model more most my new no not now of on one only or other our out over
people price quick queue brown say see she so some spot take tell than that the their them then there these they
thing think this those time to two up use vector very want way we well what when which who will with work world
would year you your ##s ##ed ##ing ##er ##ly ##ion ##est""".split()

CASES = [
    ("one letter", "a"),
    ("sentence", "The quick brown fox jumps over the lazy dog"),
    ("case is ignored", "THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG"),
    ("question", "How do I find the spot price of a GPU, and when?"),
    ("pieces", "queues working newest sparrows"),
    ("digits", "2026-11-21 04:58 3.14159"),
    ("code", 'fn main() { println!("{}", 6 * 7); }'),
    ("white space", "  tab\tand\nline  "),
    ("word over 100 letters", "x" * 101),
    ("longer than the limit", "the model will take one vector at a time, " * 12),
]


def vocabulary():
    letters = string.ascii_lowercase + string.digits
    single = [c for c in string.printable if c.strip() and not c.isupper()]
    pieces = SPECIAL + single + ["##" + c for c in letters] + WORDS
    return {piece: id for id, piece in enumerate(dict.fromkeys(pieces))}


def tokenise(text, vocab):
    """Ids of an ASCII text with [CLS] and [SEP], not truncated."""
    spaced = "".join(f" {c} " if c in string.punctuation else c for c in text.lower())
    ids = [vocab["[CLS]"]]
    for word in spaced.split():
        ids += wordpiece(word, vocab)
    return ids + [vocab["[SEP]"]]


def wordpiece(word, vocab):
    if len(word) > WORD_CHARS_MAX:
        return [vocab["[UNK]"]]
    ids, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in vocab)
        end = next(ends, None)
        if end is None:
            return [vocab["[UNK]"]]
        ids.append(vocab[prefix + word[start:end]])
        start = end
    return ids


def weights(vocab_size):
    rng = np.random.default_rng(20261121)
    made = {}

    def matrix(name, *shape, scale=0.25):
        made[name] = rng.normal(0, scale, shape).astype("<f4")

    def norm(name):
        made[name + ".weight"] = (1 + rng.normal(0, 0.1, HIDDEN)).astype("<f4")
        made[name + ".bias"] = rng.normal(0, 0.1, HIDDEN).astype("<f4")

    def linear(name, out, into):
        matrix(name + ".weight", out, into)
        matrix(name + ".bias", out, scale=0.1)

    matrix("embeddings.word_embeddings.weight", vocab_size, HIDDEN)
    matrix("embeddings.position_embeddings.weight", POSITIONS, HIDDEN, scale=0.1)
    matrix("embeddings.token_type_embeddings.weight", 2, HIDDEN, scale=0.1)
    norm("embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        for part in ("query", "key", "value"):
            linear(at + "attention.self." + part, HIDDEN, HIDDEN)
        linear(at + "attention.output.dense", HIDDEN, HIDDEN)
        norm(at + "attention.output.LayerNorm")
        linear(at + "intermediate.dense", FFN, HIDDEN)
        linear(at + "output.dense", HIDDEN, FFN)
        norm(at + "output.LayerNorm")
    # Present in real files and to be ignored.
    linear("pooler.dense", HIDDEN, HIDDEN)
    made["embeddings.position_ids"] = np.arange(POSITIONS, dtype="<i8").reshape(1, -1)
    return made


def encode(w, ids):
    """The vector of one text, in float64."""
    w = {name: value.astype("f8") for name, value in w.items()}

    def linear(x, name):
        return x @ w[name + ".weight"].T + w[name + ".bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPS)
        return scaled * w[name + ".weight"] + w[name + ".bias"]

    x = w["embeddings.word_embeddings.weight"][ids]
    x = x + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    for layer in range(LAYERS):
        at = f"encoder.layer.{layer}."
        q, k, v = (
            linear(x, at + "attention.self." + part).reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
            for part in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(HIDDEN / HEADS)
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        attended = (scores / scores.sum(-1, keepdims=True)) @ v
        attended = attended.transpose(1, 0, 2).reshape(len(ids), HIDDEN)
        x = norm(x + linear(attended, at + "attention.output.dense"), at + "attention.output.LayerNorm")
        inner = linear(x, at + "intermediate.dense")
        inner = inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2)))
        x = norm(x + linear(inner, at + "output.dense"), at + "output.LayerNorm")
    pooled = x.mean(0)
    return pooled / np.linalg.norm(pooled)


def write_safetensors(path, tensors):
    kinds = {"<f4": "F32", "<i8": "I64"}
    header, body = {"__metadata__": {"format": "pt"}}, b""
    for name in sorted(tensors):
        raw = tensors[name].tobytes()
        header[name] = {
            "dtype": kinds[tensors[name].dtype.str],
            "shape": list(tensors[name].shape),
            "data_offsets": [len(body), len(body) + len(raw)],
        }
        body += raw
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def tokenizer(vocab):
    special = [
        {"id": vocab[s], "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
        for s in SPECIAL
    ]
    return {
        "version": "1.0",
        # Baked in as some published files do, so that a reader which keeps them fails the tests.
        "truncation": {"direction": "Right", "max_length": 8, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 8}, "direction": "Right", "pad_to_multiple_of": None, "pad_id": 0, "pad_type_id": 0, "pad_token": "[PAD]"},
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", vocab["[SEP]"]], "cls": ["[CLS]", vocab["[CLS]"]]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": WORD_CHARS_MAX, "vocab": vocab},
    }


def main():
    folder = pathlib.Path(__file__).parent / "synthetic-bert"
    (folder / "1_Pooling").mkdir(parents=True, exist_ok=True)
    vocab = vocabulary()
    w = weights(len(vocab))

    def write(name, value, indent=1):
        (folder / name).write_text(json.dumps(value, indent=indent) + "\n")

    write_safetensors(folder / "model.safetensors", w)
    write("tokenizer.json", tokenizer(vocab))
    write("config.json", {
        "architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN,
        "intermediate_size": FFN, "layer_norm_eps": EPS, "max_position_embeddings": POSITIONS,
        "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "position_embedding_type": "absolute",
        "type_vocab_size": 2, "vocab_size": len(vocab),
    })
    write("sentence_bert_config.json", {"max_seq_length": MAX_SEQ_LENGTH, "do_lower_case": False})
    write("1_Pooling/config.json", {"word_embedding_dimension": HIDDEN, "pooling_mode_mean_tokens": True})

    cases = []
    for name, text in CASES:
        ids = tokenise(text, vocab)
        run = ids if len(ids) <= MAX_SEQ_LENGTH else ids[: MAX_SEQ_LENGTH - 1] + ids[-1:]
        vector = [round(x, 9) for x in encode(w, run)]
        cases.append({"name": name, "text": text, "untruncated": len(ids), "ids": run, "vector": vector})
    lines = ",\n".join(json.dumps(case) for case in cases)
    (folder / "reference.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
