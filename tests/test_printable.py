"""What comes from outside is shown without secrets and does nothing to a terminal."""

import json
import os
import re
import subprocess
import sys

import pytest

from dreamda_jax import printable
from dreamda_jax.data.files import atomic, run_directory
from dreamda_jax.errors import UserError
from dreamda_jax.printable import masked, shown
from dreamda_jax.settings.streams import ShownStream
from tests.support.paths import ROOT

ORDINARY = (
    *("café", "cafe\u0301", "日本語", "עברית", "العَرَبِيَّة", "नमस्ते", "می\u200cخواهم"),
    *("👩\u200d👩\u200d👧", "a b", "…", "C:\\dir", "\u00a0", "x/y-z_1.png"),
)


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text):
    assert printable.printable(text) == shown(text) == text


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x1b]8;;http://x\x07", r"\x1b]8;;http://x\x07"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\nc\td\x00\x7f\x08", r"a\rb\nc\td\x00\x7f\x08"),
        ("\u202egnp.exe\u2066\u2069", r"\u202egnp.exe\u2066\u2069"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\udcff\ud83d", r"\udcff\ud83d"),
    ],
)
def test_what_a_terminal_would_obey_is_escaped(text, escaped):
    assert printable.printable(text) == escaped
    assert printable.printable(escaped) == escaped
    assert printable.printable(text, keep=text) == text


@pytest.mark.parametrize(
    "address",
    [
        "https://user:SECRET@host/x",
        "http://SECRET@host:8080/x",
        "HTTPS://user:SECRET@host",
        "https://:SECRET@[::1]:80/x?y",
        "s3://AKIA:SECRET@bucket/run",
        "s3://AKIA:SEC/RET+SECRET=@bucket/run",
        "https://user:p@SECRET@host/",
        "https://user:p#SECRET?x/y@host/",
        "sftp://me:SECRET@host/~/x",
        "https://user:SECRET%40@host/a:b@c",
        "gs+https://u:SECRET@h",
        "https://host/x?api_key=SECRET&v=1",
        "https://host/x?v=1&X-Amz-Signature=SECRET",
        "https://host/x?X-Amz-Credential=SECRET%2F1",
        "https://a.blob.core.windows.net/x?sv=1&sig=SECRET",
        "https://host/x#access_token=SECRET&y=2",
        "https://host/x?password=SECRET",
        "https://host/x?HF_TOKEN=SECRET",
        "https://user:SECRET@host/x?token=SECRET",
    ],
)
def test_passwords_of_addresses_are_masked(address):
    for text in (address, f"{address}: gone", f"('{address}')", f'"{address}" and {address}'):
        found = masked(text)
        assert "SECRET" not in found
        assert "SEC/" not in found
        assert "***" in found
        assert masked(found) == found
        assert str(UserError(text)) == found


@pytest.mark.parametrize(
    "text",
    [
        *("https://host:8080/a@b/c", "gs://bucket/run", "abfs://container@account.x.net/a"),
        *("sftp://me@host/x", "file:///a/b@c:d", "memory://bucket/run", "http://[::1]:80/x"),
        *("https://host/x?keyword=shoe&author=me", "user@host: a:b@c", "a://b and c@d"),
        *("http://localhost:11434/v1 refuses: 404 (a@b)", "basic understanding of tokens"),
    ],
)
def test_what_is_no_password_stays(text):
    assert masked(text) == text


def test_long_texts_take_no_longer_than_they_are_long():
    letters = "a" * 300_000  # what is quadratic in it takes hours
    pairs = "a:" * 150_000
    for text in (letters, f"a://{letters}", f"a://b?{letters}", pairs, f"a://{pairs}"):
        assert masked(text) == text


def test_headers_and_keys_that_were_given_are_masked(monkeypatch):
    monkeypatch.setattr(printable, "_secrets", {})
    assert masked("Authorization: Bearer abc.def, x") == "Authorization: Bearer ***, x"
    assert masked("{'Authorization': 'Basic dTpw'}") == "{'Authorization': 'Basic ***'}"
    printable.hide("sk-long+key/1", "[KEY]")
    printable.hide("EMPTY", "[KEY]")
    assert masked("EMPTY sk-long+key/1 sk-long%2Bkey%2F1") == "EMPTY [KEY] [KEY]"
    assert masked("a EMPTY b", {"EMPTY": "[K]", "": "x"}) == "a [K] b"


class Terminal:
    encoding = "ascii"

    def __init__(self):
        self.text = ""

    def write(self, text):
        self.text += text.encode("ascii").decode()

    def isatty(self):
        return True


def test_a_stream_shows_what_it_is_given():
    terminal = Terminal()
    stream = ShownStream(terminal)
    print("\r50 %", end="\r", file=stream)  # progress over itself
    print("a\rb \x1b[2J\tüber http://a:SECRET@b/…", file=stream)
    stream.writelines(["x\n", "\udcff\n"])
    assert terminal.text == ("\r50 %\ra\\rb \\x1b[2J\t\\xfcber http://***@b/\\u2026\nx\n\\udcff\n")
    assert stream.isatty()


CHILD = """
import sys, warnings
from absl import app, flags, logging as absl_logging
from dreamda_jax.settings import command_line
import logging
def main():
    word = chr(27) + "[31m http://u:SECRET@h" + chr(0x9b) + chr(0xdcff)
    print("out", word)
    print("err", word, file=sys.stderr)
    logging.getLogger("x").warning("log %s", word)
    absl_logging.warning("absl %s", word)
    warnings.warn("warned " + word)
    raise ValueError("raised " + word)
command_line.run(main)
"""


def test_prints_logs_warnings_and_tracebacks_of_a_command():
    done = subprocess.run(
        [sys.executable, "-c", CHILD],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        check=False,
    )
    out, err = done.stdout.decode(), done.stderr.decode()
    assert re.match(r"out \\x1b\[31m http://\*\*\*@h", out)
    for start in ("err ", "log ", "absl ", "warned ", "ValueError: raised "):
        assert f"{start}\\x1b[31m http://***@h\\x9b\\udcff" in err
    assert "SECRET" not in out + err
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", out + err)


def test_an_address_s_password_reaches_no_file_and_no_refusal(tmp_path):
    def settings(password, scale=1):
        path = f"https://user:{password}@host/x"
        return {"source": {"path": path}, "method": {"scale": scale}}

    with run_directory.open_run(tmp_path / "run", settings("SECRET")):
        (tmp_path / "run" / "done").mkdir()
        (tmp_path / "run" / "done" / "0.json").touch()
    assert "SECRET" not in (tmp_path / "run" / "config.json").read_text()
    with run_directory.open_run(tmp_path / "run", settings("RENEWED")) as again:
        assert again.resumed  # another password makes no other run
    with pytest.raises(UserError, match="scale: 1 here, 2 now") as caught:
        run_directory.open_run(tmp_path / "run", settings("SECRET", 2))
    assert "SECRET" not in str(caught.value)


def test_json_holds_the_same_values_and_does_nothing_to_a_terminal():
    value = {"a\x9b\x1b": ["\u202e", "\u2028", "\n", "\x7f", "é😀", "\udcff"]}
    data = atomic.to_json(value)
    assert json.loads(data) == value
    assert all(line.isprintable() for line in data.decode().split("\n"))
    assert "é😀".encode() in data
    assert b"SECRET" not in atomic.to_json({"at": "s3://a:SECRET@b", "of": ["http://SECRET@h/x"]})
