"""Random language models of two layers, in the layout of the hub's, and what they compute.

The reference is written down from the papers and PyTorch transformers' modelling files in numpy,
float64, without cache, and knows nothing of Flax.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

WIDTH, HEADS, KV_HEADS, INNER, LAYERS, CONTEXT = 32, 4, 2, 48, 2, 2048
LETTERS = "\n" + "".join(map(chr, range(32, 127)))
END = len(LETTERS)
CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"


def make(directory: Path, kind: str = "llama", *, chat: bool = True, **changes: Any) -> Path:
    """A directory with config.json, model.safetensors and a tokenizer of single characters."""
    directory.mkdir(parents=True, exist_ok=True)
    size = _save_tokenizer(directory, chat=chat)
    if kind == "gpt2":
        config = {"n_embd": WIDTH, "n_head": HEADS, "n_layer": LAYERS, "n_positions": CONTEXT}
        config["tie_word_embeddings"] = True
    else:
        config = {
            "hidden_size": WIDTH,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "intermediate_size": INNER,
            "num_hidden_layers": LAYERS,
            "max_position_embeddings": CONTEXT,
            "tie_word_embeddings": kind == "gemma",
            "rms_norm_eps": 1e-6,
        }
        config |= {"head_dim": 16, "hidden_act": "gelu_pytorch_tanh"} if kind == "gemma" else {}
        config |= {"sliding_window": None} if kind == "mistral" else {}
    config |= {"model_type": kind, "vocab_size": size, "bos_token_id": END, "eos_token_id": END}
    config |= changes
    (directory / "config.json").write_text(json.dumps(config))
    weights = _gpt2_weights(config) if kind == "gpt2" else _llama_weights(config)
    save_file(weights, directory / "model.safetensors")
    return directory


def _save_tokenizer(directory: Path, *, chat: bool) -> int:
    vocabulary = {letter: i for i, letter in enumerate(LETTERS)} | {"<eos>": END}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="?"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<eos>")
    if chat:
        fast.chat_template = CHAT
    fast.save_pretrained(str(directory))
    return len(vocabulary)


def _draw(shapes: dict[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=shape, scale=0.3).astype(np.float32) for name, shape in shapes.items()
    }


def _llama_weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    size = config.get("head_dim") or WIDTH // HEADS
    shapes = {"model.embed_tokens.weight": (config["vocab_size"], WIDTH)}
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        shapes |= {
            f"{layer}.self_attn.q_proj.weight": (HEADS * size, WIDTH),
            f"{layer}.self_attn.k_proj.weight": (KV_HEADS * size, WIDTH),
            f"{layer}.self_attn.v_proj.weight": (KV_HEADS * size, WIDTH),
            f"{layer}.self_attn.o_proj.weight": (WIDTH, HEADS * size),
            f"{layer}.mlp.gate_proj.weight": (INNER, WIDTH),
            f"{layer}.mlp.up_proj.weight": (INNER, WIDTH),
            f"{layer}.mlp.down_proj.weight": (WIDTH, INNER),
            f"{layer}.input_layernorm.weight": (WIDTH,),
            f"{layer}.post_attention_layernorm.weight": (WIDTH,),
        }
    shapes["model.norm.weight"] = (WIDTH,)
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (config["vocab_size"], WIDTH)
    return _draw(shapes)


def _gpt2_weights(config: dict[str, Any]) -> dict[str, np.ndarray]:
    """Named as on the hub, without "transformer."; linear layers lie as [in, out]."""
    shapes = {"wte.weight": (config["vocab_size"], WIDTH), "wpe.weight": (CONTEXT, WIDTH)}
    sizes = {"attn.c_attn": (WIDTH, 3 * WIDTH), "attn.c_proj": (WIDTH, WIDTH)}
    sizes |= {"mlp.c_fc": (WIDTH, 4 * WIDTH), "mlp.c_proj": (4 * WIDTH, WIDTH)}
    for i in range(LAYERS):
        for name, (inner, outer) in sizes.items():
            shapes |= {f"h.{i}.{name}.weight": (inner, outer), f"h.{i}.{name}.bias": (outer,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{i}.{name}.weight": (WIDTH,), f"h.{i}.{name}.bias": (WIDTH,)}
    shapes |= {"ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    # The mask that old versions saved; it is no weight.
    return _draw(shapes) | {"h.0.attn.bias": np.tril(np.ones((1, 1, 8, 8), np.float32))}


def next_token_logits(directory: Path, ids: list[int]) -> np.ndarray:
    """What the model says of the token after `ids`."""
    from safetensors.numpy import load_file

    config = json.loads((directory / "config.json").read_text())
    weights = {
        name: array.astype(np.float64)
        for name, array in load_file(directory / "model.safetensors").items()
    }
    return (_gpt2 if config["model_type"] == "gpt2" else _llama)(config, weights, ids)[-1]


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, window: int | None = None) -> np.ndarray:
    """[heads, n, size] each; causal, each token with its `window` latest, itself among them."""
    scores = q @ k.transpose(0, 2, 1) / np.sqrt(q.shape[-1])
    seen = np.tril(np.ones(scores.shape[-2:], bool))
    if window is not None:
        seen &= ~np.tril(seen, -window)
    scores = np.where(seen, scores, -np.inf)
    shares = np.exp(scores - scores.max(-1, keepdims=True))
    return (shares / shares.sum(-1, keepdims=True)) @ v


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def _split(x: np.ndarray, heads: int) -> np.ndarray:
    return x.reshape(len(x), heads, -1).transpose(1, 0, 2)


def _rotate(x: np.ndarray) -> np.ndarray:
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[1])[:, None] / 10_000 ** (np.arange(half) / half)
    cos, sin = np.cos(angles), np.sin(angles)
    first, second = x[..., :half], x[..., half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], -1)


def _llama(config: dict[str, Any], weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    gemma = config["model_type"] == "gemma"

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scale = weights[f"{name}.weight"] + gemma
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + config["rms_norm_eps"]) * scale

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"].T

    embedding = weights["model.embed_tokens.weight"]
    x = embedding[ids] * (np.sqrt(WIDTH) if gemma else 1)
    for i in range(LAYERS):
        layer = f"model.layers.{i}"
        h = norm(x, f"{layer}.input_layernorm")
        q = _rotate(_split(linear(h, f"{layer}.self_attn.q_proj"), HEADS))
        k = _rotate(_split(linear(h, f"{layer}.self_attn.k_proj"), KV_HEADS))
        v = _split(linear(h, f"{layer}.self_attn.v_proj"), KV_HEADS)
        k, v = (np.repeat(part, HEADS // KV_HEADS, axis=0) for part in (k, v))
        mixed = (
            _attend(q, k, v, config.get("sliding_window")).transpose(1, 0, 2).reshape(len(ids), -1)
        )
        x = x + linear(mixed, f"{layer}.self_attn.o_proj")
        h = norm(x, f"{layer}.post_attention_layernorm")
        gate = linear(h, f"{layer}.mlp.gate_proj")
        gate = _gelu(gate) if gemma else gate / (1 + np.exp(-gate))
        x = x + linear(gate * linear(h, f"{layer}.mlp.up_proj"), f"{layer}.mlp.down_proj")
    return norm(x, "model.norm") @ weights.get("lm_head.weight", embedding).T


def _gpt2(config: dict[str, Any], weights: dict[str, np.ndarray], ids: list[int]) -> np.ndarray:
    def norm(x: np.ndarray, name: str) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        x = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-5)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    def linear(x: np.ndarray, name: str) -> np.ndarray:
        return x @ weights[f"{name}.weight"] + weights[f"{name}.bias"]

    x = weights["wte.weight"][ids] + weights["wpe.weight"][: len(ids)]
    for i in range(LAYERS):
        q, k, v = np.split(linear(norm(x, f"h.{i}.ln_1"), f"h.{i}.attn.c_attn"), 3, axis=-1)
        mixed = _attend(*(_split(part, HEADS) for part in (q, k, v)))
        x = x + linear(mixed.transpose(1, 0, 2).reshape(len(ids), -1), f"h.{i}.attn.c_proj")
        inner = _gelu(linear(norm(x, f"h.{i}.ln_2"), f"h.{i}.mlp.c_fc"))
        x = x + linear(inner, f"h.{i}.mlp.c_proj")
    return norm(x, "ln_f") @ weights["wte.weight"].T
