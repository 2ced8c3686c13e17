"""The tokens of textual inversion: one or more new ones for each class, and prompts with them."""

from collections.abc import Sequence
from typing import NamedTuple

from dreamda_jax.data import prompts
from dreamda_jax.data.sources.labels import spoken_name
from dreamda_jax.errors import UserError
from dreamda_jax.models.stable_diffusion import textual_inversion
from dreamda_jax.models.stable_diffusion.model import StableDiffusion


class Vocabulary(NamedTuple):
    """What prompts are written and encoded with.

    Attributes:
      model: the networks; with new tokens in text encoder and tokenizer where they are trained.
      tokens: the new tokens of each class; empty where none are trained.
      start_ids: for each new token the known tokens whose mean embedding it starts from.
    """

    model: StableDiffusion
    tokens: list[list[str]]
    start_ids: list[list[int]]


def new_tokens_for(
    model: StableDiffusion, label_names: Sequence[str], *, num_vectors: int
) -> Vocabulary:
    """A vocabulary with so many new tokens for each class, which start as the class's name.

    Raises:
      UserError: tokenizer and text encoder do not agree, or the tokenizer has no room for a token.
    """
    tokens = textual_inversion.token_names(label_names, num_vectors=num_vectors)
    names = [token for own in tokens for token in own]
    if len(model.tokenizer) != model.vocabulary:
        raise UserError(
            f"tokenizer/ has {len(model.tokenizer):,} tokens and the text encoder knows "
            f"{model.vocabulary:,}: new tokens have no place that both agree on"
        )
    tokenizer = textual_inversion.extended_tokenizer(model.tokenizer, names)
    extended = model.with_vocabulary(model.vocabulary + len(names), tokenizer)
    start_ids = [
        textual_inversion.plain_ids(tokenizer, spoken_name(name))
        for name, own in zip(label_names, tokens, strict=True)
        for _ in own
    ]
    return Vocabulary(model=extended, tokens=tokens, start_ids=start_ids)


def prompts_with_tokens(
    vocabulary: Vocabulary,
    label_names: tuple[str, ...],
    *,
    template: str = "A photo of a {class}",
    file: str | None = None,
) -> prompts.Prompts:
    """Prompts of images with the new tokens in the place of class names.

    Args:
      vocabulary: with new tokens.
      label_names: the classes.
      template: with `{class}` where the tokens go.
      file: of section "prompt", which cannot be used here.

    Raises:
      UserError: a file is given, the template has no place for the tokens, or the text encoder cuts
        a prompt before the last of them.
    """
    if file is not None:
        raise UserError(
            f"prompt.file={file} and finetune.method=textual_inversion: an image has the "
            "template with the new token of its class as prompt. Leave the file out."
        )
    if "{class}" not in template:
        raise UserError(
            f"prompt.template={template!r} has no {{class}}, where textual inversion puts the new "
            "token of a class"
        )
    texts = prompts.fill_template(template, [" ".join(own) for own in vocabulary.tokens])
    _check_room(vocabulary, texts)
    return prompts.Prompts(label_names, texts, {}, {})


def _check_room(vocabulary: Vocabulary, texts: Sequence[str]) -> None:
    """Tokens behind the place where a prompt is cut would never be trained."""
    model = vocabulary.model
    for own, text, ids in zip(vocabulary.tokens, texts, model.tokenize(texts), strict=True):
        if not set(model.tokenizer.convert_tokens_to_ids(list(own))) <= set(ids.tolist()):
            raise UserError(
                f"the prompt {text[:60]!r} … is longer than the text encoder's "
                f"{model.num_tokens} tokens, and is cut before the last of its {len(own)} new "
                "ones: give a smaller --config.finetune.num_vectors or a shorter "
                "--config.prompt.template"
            )
