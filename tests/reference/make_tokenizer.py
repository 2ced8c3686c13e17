"""Make tokenizer.npz: a thousand prompts, and their ids by transformers' fast CLIP tokenizer.

Needs an environment apart from the project's: Python 3.11, numpy, transformers 4.57.6,
open_clip_torch 3.3.0 (`pip install --no-deps`; its tokenizer needs ftfy and regex, no torch).

    APART/bin/python tests/reference/make_tokenizer.py

It prints how many prompts of each kind the slow tokenizer of transformers 4 (without ftfy) and
OpenAI's own, which open_clip carries, read otherwise. README.md here says what that comes from.
"""

import html.entities
import json
import random
import sys
import types
import unicodedata
from pathlib import Path

import numpy as np

VOCABULARY = Path(__file__).parents[2] / "dreamda_jax" / "models" / "clip" / "vocabulary"
PER_KIND = 100

# Unicode's tables of 2002: the same in every Python, and known to every tokenizer.
OLD = unicodedata.ucd_3_2_0
TEXT = """
a photo of a the in on with painting oil watercolour golden-retriever sneaker ankle boot
t-shirt/top Boeing 737-800 café snow's dog's can't I'LL we've they're he'd I'm mid-19th
century 8k, (masterpiece:1.2) [best quality] <lora:x:0.8> trending ArtStation; red? blue!
"quoted" 50% off #1 @home a_b C++ f/1.8 10,000 3.14 №5 Ⅷ x² ½ don't IT'S 'tis rock'n'roll
"""
WORDS = TEXT.split()
ACCENTED = (
    "naïve façade Ærøskøbing Dvořák smörgåsbord Łódź İstanbul ırmak Straße ὈΔΥΣΣΕΎΣ ΣΊΣΥΦΟΣ ſ K Å"
)
SCRIPTS = (
    ("CJK", 0x4E00, 0x9FA5), ("kana", 0x3041, 0x30FE), ("Hangul", 0xAC00, 0xD7A3),
    ("Cyrillic", 0x400, 0x4F9), ("Greek", 0x370, 0x3FF), ("Hebrew", 0x5D0, 0x5EA),
    ("Arabic", 0x621, 0x6D3), ("Devanagari", 0x901, 0x970), ("Thai", 0xE01, 0xE5B),
    ("full width", 0xFF01, 0xFFEE), ("CJK, extension B", 0x20000, 0x2A6D6),
)  # fmt: skip
EMOJI = (
    *(
        "😀",
        "🐕",
        "🦮",
        "👟",
        "✈️",
        "☎",
        "❤️",
        "🏳️‍🌈",
        "👨‍👩‍👧‍👦",
        "👍🏽",
        "🇫🇷",
        "🇯🇵",
        "1️⃣",
        "©",
        "™",
        "♂️",
    ),
    *("🧑🏿‍🚀", "🔥", "✨", "★", "→", "😀😀"),
)
CONTROL = (
    *("\0", "\x01", "\x07", "\x08", "\t", "\n", "\v", "\f", "\r", "\x1b", "\x1c", "\x1f", "\x7f"),
    *("\x80", "\x85", "\x9f", "\xa0", "\xad", "\u200b", "\u200d", "\u2028", "\u2029", "\u202e"),
    *("\u2003", "\u3000", "\u180e", "\ufeff", "\ufffd", "\ue000", "\uffff", "\U0010ffff"),
)
MOJIBAKE = (
    *(
        "cafÃ©",
        "âœ” done",
        "itâ€™s",
        "“curly” ‘quotes’",
        "ﬁne ﬂuﬀy",
        "ＦＵＬＬ ｗｉｄｔｈ",
        "l’amour…",
    ),
    *("schÃ¶n", "Ã\xa0 la carte", "ð\x9f\x98\x80", "\x1b[31mred\x1b[0m", "ŉ", "Ǆ ǅ", "x\u0301y"),
)
MARKS = ("<|endoftext|>", "<|startoftext|>", "<|EndOfText|>", "<|STARTOFTEXT|>", "<|end", "</w>")


def words(draw: random.Random, count: int) -> str:
    return " ".join(draw.choices(WORDS, k=count))


def among(draw: random.Random, pieces: list[str] | tuple[str, ...]) -> str:
    """Words with such pieces between or inside of them."""
    gaps = ("", " ", "  ")
    parts = (draw.choice(WORDS) + draw.choice(gaps) + draw.choice(pieces) for _ in range(6))
    return "".join(part + draw.choice(gaps) for part in parts)


def of_script(draw: random.Random) -> str:
    _, first, last = draw.choice(SCRIPTS)
    runs = (
        "".join(chr(draw.randint(first, last)) for _ in range(draw.randint(1, 5))) for _ in range(6)
    )
    return " ".join([words(draw, 2), *runs])


def of_any_character(draw: random.Random) -> str:
    found = []
    while len(found) < 24:
        character = chr(draw.randrange(draw.choice((0x250, 0x3000, 0x110000))))
        if OLD.category(character) not in ("Cn", "Cs"):
            found.append(character)
    return "".join(found)


def recased(draw: random.Random) -> str:
    text = " ".join(draw.choices(ACCENTED.split(), k=5))
    text = draw.choice((str.upper, str.lower, str.title, str))(text)
    return OLD.normalize(draw.choice(("NFC", "NFD", "NFKC", "NFKD")), text)


def entities(draw: random.Random) -> str:
    names = sorted(html.entities.html5)[::7]
    pieces = [f"&{name}" for name in draw.choices(names, k=4)]
    pieces += [
        "&amp;",
        "&amp;amp;",
        "&lt;b&gt;",
        "&#39;",
        "&#x1F600;",
        "&nbsp;",
        "&unknown;",
        "<b>",
    ]
    return among(draw, pieces)


KINDS = {
    "words": lambda draw: words(draw, draw.randint(1, 12)),
    "accents and letters' cases": recased,
    "scripts": of_script,
    "emoji": lambda draw: among(draw, EMOJI),
    "HTML entities": entities,
    "control characters and spaces": lambda draw: among(draw, CONTROL),
    "long": lambda draw: words(draw, draw.randint(60, 120)),
    "any characters": of_any_character,
    "broken and typographic": lambda draw: among(draw, MOJIBAKE),
    "marks": lambda draw: among(draw, MARKS),
}


def make_prompts() -> dict[str, list[str]]:
    """`PER_KIND` prompts of each kind; the same on every machine."""
    draw = random.Random(0)
    return {kind: [make(draw) for _ in range(PER_KIND)] for kind, make in KINDS.items()}


def read_slowly(prompts: list[str]) -> list[list[int]]:
    """By transformers 4's slow tokenizer, which mends texts otherwise where it finds ftfy."""
    from transformers import CLIPTokenizer

    known = sys.modules.get("ftfy")
    sys.modules["ftfy"] = None  # type: ignore[assignment]
    try:
        slow = CLIPTokenizer.from_pretrained(str(VOCABULARY))
    finally:
        sys.modules.pop("ftfy")
        if known:
            sys.modules["ftfy"] = known
    return slow(prompts, truncation=True, max_length=77).input_ids


def read_as_openai(prompts: list[str]) -> list[list[int]]:
    # Its package imports torch at the top, of which its tokenizer needs nothing for `encode`.
    import importlib.util

    place = importlib.util.find_spec("open_clip").origin
    sys.modules["torch"] = types.ModuleType("torch")
    sys.modules["torch"].LongTensor = list
    sys.modules["torch"].Tensor = list
    sys.modules["open_clip"] = package = types.ModuleType("open_clip")
    package.__path__ = [str(Path(place).parent)]
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    return [[49406, *tokenizer.encode(text)[:75], 49407] for text in prompts]


def main() -> None:
    from transformers import CLIPTokenizerFast

    prompts = make_prompts()
    everything = [text for kind in prompts.values() for text in kind]
    fast = CLIPTokenizerFast.from_pretrained(str(VOCABULARY))
    ids = fast(everything, padding="max_length", truncation=True, max_length=77).input_ids
    lengths = [sum(row) for row in fast(everything, truncation=True, max_length=77).attention_mask]
    own = [row[:length] for row, length in zip(ids, lengths, strict=True)]
    slow, openai = read_slowly(everything), read_as_openai(everything)
    for number, (kind, texts) in enumerate(prompts.items()):
        rows = range(number * PER_KIND, number * PER_KIND + len(texts))
        by_slow = sum(own[row] != slow[row] for row in rows)
        by_openai = sum(own[row] != openai[row] for row in rows)
        print(f"{kind}: slow {by_slow}, OpenAI's {by_openai} of {PER_KIND} differ")
    padded = CLIPTokenizerFast.from_pretrained(str(VOCABULARY), pad_token="!")
    ids_sd2 = padded(everything, padding="max_length", truncation=True, max_length=77).input_ids
    np.savez_compressed(
        Path(__file__).parent / "tokenizer.npz",
        prompts=np.frombuffer(json.dumps(everything).encode(), np.uint8),
        ids=np.array(ids, np.uint16),
        ids_sd2=np.array(ids_sd2, np.uint16),
    )


if __name__ == "__main__":
    main()
