"""The fields every configuration has, with the paper's settings; each data set changes a few.

They are those of the records in dreamda_jax/options, where each default and meaning stands once;
`python -m dreamda_jax.generate --help` lists them. Sections end at the entry points: below them
everything takes keyword arguments of the same names.
"""

from collections.abc import Iterable

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from dreamda_jax.configs import methods
from dreamda_jax.options.fields import Field
from dreamda_jax.options.sections import SECTIONS, section_fields


def get_config(method: str = "dreamda") -> ConfigDict:
    """Stable Diffusion 1.5 at 512 pixels, ten variants by a method of `methods`."""
    config = ConfigDict()
    for name in SECTIONS:
        fields = section_fields(name)
        config[name] = as_config(fields[""]) if "" in fields else ConfigDict()
    config.source = ConfigDict({"kind": "folder"})
    config.method = methods.method_config(method)
    return config


def as_config(fields: Iterable[Field]) -> ConfigDict:
    """A section of a configuration with the defaults of such options.

    One whose default is None can be given on the command line too, as a value of its kind.
    """
    section = ConfigDict()
    for field in fields:
        if field.within:
            section[field.name] = as_config(field.within)
        else:
            value = placeholder(field.plain_kind) if field.default is None else field.default
            section[field.name] = value
    return section


def source_config(kind: str) -> ConfigDict:
    """Section "source" of a kind: all of its options that a command line can give."""
    fields = section_fields("source")[kind]
    section = as_config(field for field in fields if field.is_plain)
    section.kind = kind
    return section


def get_tfds_config(
    name: str, method: str, *, split: str, num_variants: int, test_split: str = "test"
) -> ConfigDict:
    """The same for an image classification set of TFDS, written to runs/<name>."""
    config = get_config(method)
    config.source = source_config("tfds")
    config.source.update({"name": name, "split": split})
    config.synthesis.num_variants = num_variants
    config.output.path = methods.output(method, f"runs/{name}")
    config.train.output = f"runs/{name}_classifier"
    config.finetune.output = f"runs/{name}_finetuned"
    config.test.split = test_split
    return config
