import pytest

from dreamda_jax.prompts.class_words import words
from dreamda_jax.prompts.validation import Validator, num_words

NAMES = ("t-shirt", "shirt", "boot", "ankle_boot", "n02085620-Chihuahua", "glass", "glasses")
FILL = " ".join(["word"] * 15)


def check(text, class_name, accepted=(), **limits):
    validator = Validator(NAMES, **{"min_words": 15, "max_words": 50, **limits})
    refusal = validator.check(text, class_name, set(map(words, accepted)))
    return refusal and refusal.reason


@pytest.mark.parametrize(
    ("class_name", "said", "reason"),
    [
        ("shirt", "a shirt", None),
        ("shirt", "a t-shirt", "another class named"),
        ("shirt", "a tshirt and a shirt", "another class named"),
        ("t-shirt", "a t-shirt", None),  # "shirt" is inside it
        ("t-shirt", "a t-shirt over a shirt", "another class named"),
        ("t-shirt", "a shirt", "class not named"),
        ("boot", "two boots", None),
        ("boot", "an ankle boot", "another class named"),
        ("ankle_boot", "an ankle boot", None),
        ("ankle_boot", "ankle high leather boots", None),
        ("ankle_boot", "an ankle boot near another boot", "another class named"),
        ("n02085620-Chihuahua", "a Chihuahua", None),
        ("n02085620-Chihuahua", "a dog", "class not named"),
        ("glass", "two glasses", None),  # a form of its own name
        ("glasses", "a pair of glasses", None),
        ("boot", "a boot beside a glass", "another class named"),
        ("boot", "a boot in a shirtless scene", None),
    ],
)
def test_classes(class_name, said, reason):
    assert check(f"{said} {FILL}", class_name) == reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("boot " + " ".join("abcdefghijklm"), "too short"),  # 14
        ("boot - " + " ".join("abcdefghijklm"), "too short"),  # a dash is no word
        ("boot " + " ".join("abcdefghijklmn"), None),  # 15
        ("boot " + " ".join(["word"] * 49), None),
        ("boot " + " ".join(["word"] * 50), "too long"),
        ("", "too short"),
        (f"boot {FILL}\x07", "control characters"),
        (f"boot {FILL}\u202e", "control characters"),
        (f"boot {FILL} \ud800", "control characters"),
        (f"boot {FILL} \u0915\u094d\u200d\u0937", None),  # a joiner that Hindi needs
    ],
)
def test_lengths_and_characters(text, reason):
    assert check(text, "boot") == reason


def test_limits_are_options():
    assert check("a boot", "boot", min_words=2, max_words=2) is None
    assert check("a fine boot", "boot", min_words=2, max_words=2) == "too long"


def test_duplicates_differ_in_case_and_punctuation_only():
    first = f"A boot, {FILL}."
    assert check(first.upper().replace(",", " –"), "boot", [first]) == "duplicate"
    assert check(first + " more", "boot", [first]) is None


def test_a_refusal_says_what_to_do_better():
    validator = Validator(NAMES, min_words=15, max_words=50)
    assert validator.check("a boot", "boot").words == "it has 2 words, at least 15 are due"
    said = validator.check(f"a boot and a shirt {FILL}", "boot").words
    assert said == 'it speaks of "shirt", which is another class'


def test_words_are_counted_as_people_do():
    assert num_words("A t-shirt's sleeve — in 3/4 view, isn't it?") == 8
