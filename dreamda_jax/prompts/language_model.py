"""A causal language model through transformers' Flax classes, without torch.

Weights are read by our own code, which accounts for every tensor: transformers' `from_pretrained`
fills what it cannot place with random numbers, and cannot read shards of safetensors.
"""

import copy
import functools
import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from dreamda_jax.errors import UserError
from dreamda_jax.models.quiet import quiet_flax_imports
from dreamda_jax.models.weights.load import read_tensor, shard_files, some
from dreamda_jax.models.weights.safetensors_file import StoredTensor, list_tensors
from dreamda_jax.prompts.language_model_files import LanguageModelFiles
from dreamda_jax.types import Params

# That Flax classes end with transformers 5 is answered by our pin.
logging.getLogger("transformers.modeling_flax_utils").addFilter(
    lambda record: "classes are deprecated" not in record.getMessage()
)
with quiet_flax_imports():
    from transformers import AutoConfig, AutoTokenizer, FlaxAutoModelForCausalLM

# Buffers that old versions saved beside the weights.
_BUFFERS = re.compile(r"(rotary_emb\.inv_freq|\.attn\.(bias|masked_bias))$")
_LEAVES = {"kernel": "weight", "embedding": "weight", "scale": "weight"}
_HEAD = ("lm_head", "kernel")
_MULTIPLE = 64  # prompts are padded to one, so that a program serves prompts of several lengths
_TOP_P = 0.95
_FEWEST_TOKENS = 64
_OPENING = "1."  # of a list, for a model that goes on writing rather than answer


class LanguageModel:
    """Weights on the default device, and the compiled sampler.

    Args:
      files: of `find_language_model`.
      dtype: of weights and computation, "float32" or "bfloat16".

    Raises:
      UserError: weights or tokenizer are damaged, or not those of the configuration.
    """

    def __init__(self, files: LanguageModelFiles, *, dtype: str) -> None:
        try:
            self._tokenizer = AutoTokenizer.from_pretrained(
                str(files.directory), local_files_only=True
            )
        except Exception as error:  # transformers lets through whatever its parsers raise
            raise UserError(
                f"{files.directory}: its tokenizer cannot be loaded: {error}"
            ) from error
        with quiet_flax_imports():
            config = AutoConfig.from_pretrained(str(files.directory), local_files_only=True)
        if config.model_type == "mistral":
            # Flax takes no window for one of 0 tokens, and any other to be one token wider.
            config.sliding_window = (config.sliding_window or config.max_position_embeddings) - 1
        self._config, self._dtype = config, jnp.dtype(dtype)
        self._params = _load(files, _model(config, self._dtype), self._dtype)
        end = self._tokenizer.eos_token_id
        self._stop_ids = tuple(dict.fromkeys([*files.stop_ids, *([] if end is None else [end])]))

    @property
    def context(self) -> int:
        """Tokens of question and answer together, at most."""
        return int(self._config.max_position_embeddings)

    def answer(
        self,
        key: jax.Array,
        messages: Sequence[Mapping[str, str]],
        *,
        temperature: float,
        max_tokens: int,
    ) -> tuple[str, bool]:
        """Samples an answer: from the 95 % of the probability that are likeliest (top-p).

        Args:
          key: of every draw; the same key gives the same answer on the same kind of device.
          messages: in OpenAI's form. Without a chat template their texts are put one after another.
          temperature: 0 takes the likeliest token.
          max_tokens: of the answer; fewer where the context ends before.

        Returns:
          The text, and whether it ended in the middle.

        Raises:
          UserError: the question leaves no room for an answer.
        """
        ids = self._encode(messages)
        length = -(-len(ids) // _MULTIPLE) * _MULTIPLE
        room = self.context - length
        if room < min(max_tokens, _FEWEST_TOKENS):
            raise UserError(
                f"the request takes {len(ids):,} tokens of the {self.context:,} that this model "
                "can read and write: shorten config.prompts.request or take another model"
            )
        padded = np.zeros((1, length), np.int32)
        mask = np.zeros((1, length), np.int32)
        padded[0, length - len(ids) :] = ids
        mask[0, length - len(ids) :] = 1
        written = self._sampler(length, min(max_tokens, room), temperature)(
            self._params, padded, mask, key
        )
        made = np.asarray(written)[0, length:].tolist()
        ends = [place for place, token in enumerate(made) if token in self._stop_ids]
        text = self._tokenizer.decode(made[: ends[0]] if ends else made, skip_special_tokens=True)
        return (text if self._chats else f"{_OPENING}{text}"), not ends

    @property
    def _chats(self) -> bool:
        return bool(getattr(self._tokenizer, "chat_template", None))

    def _encode(self, messages: Sequence[Mapping[str, str]]) -> list[int]:
        if self._chats:
            return list(
                self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True)
            )
        text = "\n\n".join([*(message["content"] for message in messages), _OPENING])
        return list(self._tokenizer(text).input_ids)

    @functools.lru_cache(maxsize=8)  # noqa: B019  # a job has one model
    def _sampler(self, length: int, max_tokens: int, temperature: float) -> Any:
        config = self._config
        if hasattr(config, "rope_theta"):
            # Cache and mask are as large as the context, which a rotary model need not have.
            config = copy.deepcopy(config)
            config.max_position_embeddings = length + max_tokens
        model = _model(config, self._dtype)
        # Of several the later ones end a turn of a chat, the first a document.
        stop = self._stop_ids[-1] if self._stop_ids else None
        sampling = {"temperature": temperature, "top_p": _TOP_P, "top_k": 0}

        @jax.jit
        def sample(params: Params, ids: jax.Array, mask: jax.Array, key: jax.Array) -> jax.Array:
            return model.generate(
                ids,
                attention_mask=mask,
                params=params,
                prng_key=key,
                max_new_tokens=max_tokens,
                do_sample=temperature > 0,
                eos_token_id=stop,
                pad_token_id=0 if stop is None else stop,
                **(sampling if temperature > 0 else {}),
            ).sequences

        return sample


def _model(config: Any, dtype: Any) -> Any:
    return FlaxAutoModelForCausalLM.from_config(config, dtype=dtype, _do_init=False)


def _load(files: LanguageModelFiles, model: Any, dtype: Any) -> Params:
    """Every parameter of the model from its file, cast and on the device."""
    shapes = {
        path: leaf.shape
        for path, leaf in flax.traverse_util.flatten_dict(model.params_shape_tree).items()
    }
    prefix = model.base_model_prefix
    wanted = {_torch_name(path): path for path in shapes}
    loaded: dict[tuple[str, ...], jax.Array] = {}
    unexpected: list[str] = []
    for tensor in _tensors(files):
        # GPT-2 on the hub has its names without "transformer.".
        path = wanted.get(tensor.name) or wanted.get(f"{prefix}.{tensor.name}")
        if path is not None:
            array = read_tensor(tensor, leaf=path[-1], shape=shapes[path], dtype=dtype)
            loaded[path] = jax.device_put(array)
        elif not (_BUFFERS.search(tensor.name) or tensor.name == "lm_head.weight"):
            unexpected.append(tensor.name)
    if _HEAD in shapes and _HEAD not in loaded and model.config.tie_word_embeddings:
        embedding = next(path for path in shapes if path[-2:] == ("embed_tokens", "embedding"))
        if embedding in loaded:
            loaded[_HEAD] = loaded[embedding].T
    missing = [_torch_name(path) for path in shapes if path not in loaded]
    if missing or unexpected:
        said = [f"{len(missing)} tensors are missing: {some(missing)}"] if missing else []
        said += [f"{len(unexpected)} are unexpected: {some(unexpected)}"] if unexpected else []
        raise UserError(
            f"{files.weights}: {'; '.join(said)}. Weights and config.json are not of the same "
            "model."
        )
    return flax.traverse_util.unflatten_dict(loaded)


def _tensors(files: LanguageModelFiles) -> list[StoredTensor]:
    return [tensor for shard in shard_files(files.weights) for tensor in list_tensors(shard)]


def _torch_name(path: tuple[str, ...]) -> str:
    return ".".join([*path[:-1], _LEAVES.get(path[-1], path[-1])])
