"""Class names in their three roles: as given, as part of a file name, and as read in a prompt."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable

from dreamda_jax.errors import UserError

_MAX_CHARACTERS = 64
_MAX_BYTES = 180  # file systems stop at 255 bytes; leave room for "_0001.jpg" and the like
_DIGEST_CHARACTERS = 8
_WINDOWS_DEVICES = {"con", "prn", "aux", "nul", "conin", "conout"} | {
    f"{port}{number}" for port in ("com", "lpt") for number in range(10)
}


def slug(name: str) -> str:
    """A name that is safe as a file or directory name on Linux, macOS and Windows.

    Letters and digits of any script stay (NFKC-normalised), as do inner hyphens; every run of
    anything else becomes one "_". Never empty, never "." or "..", never hidden, never a Windows
    device name, at most 64 characters and 180 bytes of UTF-8 (a longer name is cut and ends in a
    hash, so two long names stay apart).

    Args:
      name: any string.

    Returns:
      The slug; the same string for the same name on every machine. Not injective: "a b" and
      "a/b" share one, which is what `check_label_names` looks for.
    """
    composed = unicodedata.normalize("NFKC", name)
    kept = "".join(c if _is_kept(c) else "_" for c in composed)
    text = re.sub("_+", "_", kept).strip("_-")
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGEST_CHARACTERS]
    if not text:
        return f"x{digest}"
    if len(text) > _MAX_CHARACTERS or len(text.encode("utf-8")) > _MAX_BYTES:
        head = text[: _MAX_CHARACTERS - _DIGEST_CHARACTERS - 1]
        while len(head.encode("utf-8")) > _MAX_BYTES - _DIGEST_CHARACTERS - 1:
            head = head[:-1]
        text = f"{head.rstrip('_-')}_{digest}"
    if text.casefold() in _WINDOWS_DEVICES:
        text += "_"
    return text


def _is_kept(character: str) -> bool:
    # Categories L and N are letters and digits; M are the vowel signs and accents that many
    # scripts cannot be read without.
    return character in "_-" or unicodedata.category(character)[0] in "LNM"


def check_label_names(names: Iterable[str]) -> None:
    """Checks that class names can be told apart, in words and as directory names.

    Slugs are compared without regard to case, since macOS and Windows file systems do so.

    Args:
      names: the class names, in label order.

    Raises:
      UserError: no class, an empty name, the same name twice, or two names with the same slug.
    """
    seen: dict[str, str] = {}
    for name in names:
        if not name.strip():
            raise UserError(
                f"The class names contain an empty one ({name!r}). Give every class a name: it "
                "becomes part of the prompt."
            )
        key = slug(name).casefold()
        if key in seen and seen[key] == name:
            raise UserError(f"The class name {name!r} occurs twice. Class names must be unique.")
        if key in seen:
            raise UserError(
                f"The class names {seen[key]!r} and {name!r} collide: as a file name both read "
                f"{slug(name)!r} (case does not count). Rename one of them."
            )
        seen[key] = name
    if not seen:
        raise UserError("There is no class name: a labelled set needs at least one class.")


def spoken_name(name: str) -> str:
    """How a class name reads inside a prompt.

    Underscores become spaces; the numbering of CUB and Caltech-256 folders ("001.ak47"), the
    WordNet id of ImageNet folders ("n02085620-Chihuahua") and SUN397's paths ("/a/abbey") go;
    words written together are separated ("AnnualCrop"). Capitals, hyphens and the slash inside a
    name stay as they are ("t-shirt", "Ram C/V Cargo Van").

    Args:
      name: a class name as the data set gives it, e.g. "ankle_boot".

    Returns:
      The words, e.g. "ankle boot". `name` itself where nothing would be left.
    """
    text = unicodedata.normalize("NFC", name).strip()
    text = re.sub(r"^n\d{8}[-_ ]+", "", text)
    text = re.sub(r"^(\d+\.|\d{3,}[-_])\s*(?=\D)", "", text)
    if text.startswith("/"):
        text = re.sub(r"^/(\w/)?", "", text).replace("/", " ")
    if re.fullmatch(r"([A-Z][a-z]{2,}){2,}", text):
        text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)
    text = " ".join(text.replace("_", " ").split())
    return text or name
