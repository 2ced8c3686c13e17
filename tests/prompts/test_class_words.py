import pytest

from dreamda_jax.prompts import class_words
from dreamda_jax.prompts.class_words import article, forms, names, spans, with_article, words


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("ankle boot", "an ankle boot"),
        ("t-shirt", "a t-shirt"),
        ("airplane", "an airplane"),
        ("unicorn", "a unicorn"),
        ("uniform", "a uniform"),
        ("umbrella", "an umbrella"),
        ("urban street", "an urban street"),
        ("ewe", "a ewe"),
        ("European rabbit", "a European rabbit"),
        ("one-armed bandit", "a one-armed bandit"),
        ("hourglass", "an hourglass"),
        ("honeycomb", "a honeycomb"),
        ("SUV", "an SUV"),
        ("UFO", "a UFO"),
        ("BMW M3", "a BMW M3"),
        ("MG roadster", "an MG roadster"),
        ("Audi S4", "an Audi S4"),
        ("8-ball", "an 8-ball"),
        ("747", "a 747"),
        ("trousers", "a pair of trousers"),
        ("running shoes", "a pair of running shoes"),
        ("sneaker", "a sneaker"),
        ("flowers", "flowers"),
        ("people", "people"),
        ("bus", "a bus"),
        ("iris", "an iris"),
        ("dress", "a dress"),
        ("camera lens", "a camera lens"),
    ],
)
def test_articles(name, said):
    assert with_article(name) == said


def test_article_of_what_has_no_letters():
    assert article("") == "a"
    assert article("★") == "a"


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("bag", "Two BAGS", True),
        ("bag", "a handbag", False),
        ("bag", "the bag's handle", True),
        ("ankle boot", "an ankle-boot", True),
        ("ankle boot", "ankle boots", True),
        ("ankle boot", "a boot for the ankle", False),
        ("t-shirt", "a T shirt", True),
        ("t-shirt", "tshirts", True),
        ("t-shirt", "a shirt", False),
        ("dress", "three dresses", True),
        ("puppy", "puppies", True),
        ("leaf", "dry leaves", True),
        ("woman", "two women", True),
        ("trousers", "a trouser press", True),
        ("glasses", "a glass", True),
        ("bus", "a bu", False),
        ("Chihuahua", "a chihuahua", True),
        ("café", "a CAFE\u0301", True),
        ("собака", "большая Собака", True),
        ("C++", "the letter c", True),
    ],
)
def test_a_name_in_a_text(name, text, found):
    assert bool(spans(words(text), forms(name))) == found


def test_words_between():
    car = forms("Audi S4 Sedan 2007")
    text = words("An Audi S4 sedan from 2007 at dawn")
    assert spans(text, car) == []
    assert spans(text, car, between=1) == [(1, 6)]
    assert spans(words("Audi in red or blue S4 sedan 2007"), car, between=2) == []


@pytest.mark.parametrize(
    ("spoken", "parts"),
    [
        ("tench, Tinca tinca", ("tench", "Tinca tinca")),
        ("T-shirt/top", ("T-shirt", "top")),
        ("Ram C/V Cargo Van", ("Ram C/V Cargo Van",)),
        (",", (",",)),
    ],
)
def test_names(spoken, parts):
    assert names(spoken) == parts


def test_a_name_without_letters_is_in_no_text():
    assert class_words.forms("★") == frozenset()
