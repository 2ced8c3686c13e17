"""What comes from outside, made fit to be shown: it acts on no terminal and holds no secret.

File names, servers' answers and libraries' messages may hold escape sequences, and addresses may
hold passwords. `shown` is what everything passes that is printed, raised or written for people.
"""

import re
import urllib.parse
from collections.abc import Mapping

HIDDEN = "***"
"""In the place of a password."""

# Controls (C0, DEL, C1), separators of lines and paragraphs, what turns the direction of writing,
# annotations, and halves of characters: what a name that is not valid UTF-8 is read as.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]"
)
_ADDRESS = re.compile(r"(?<![A-Za-z0-9+.-])([A-Za-z][A-Za-z0-9+.-]*://)([^\s\"<>]+)")
# A password may hold what ends the part of an address that it belongs to; a port is none.
_LONG_PASSWORD = re.compile(r"[^/?#@\[\]]*:(?!\d{1,5}(?:[/?#]|$))[^@]*@")
_SECRET_FIELD = re.compile(
    r"((?:^|[?&;#])[A-Za-z0-9_.-]*"
    r"(?:key|tokens?|secret|passw(?:or)?d|pwd|signature|credentials?)(?:[0-9_.-][A-Za-z0-9_.-]*)?="
    r"|(?:^|[?&;#])(?:sig|pw|pass|auth|authorization)=)[^&;#\s\"<>]+",
    re.IGNORECASE,
)
_HEADER = re.compile(
    r"((?:proxy-)?authorization[\"']?\s*[:=]\s*[\"']?(?:(?:bearer|basic|token)\s+)?)[^\s\"',]+",
    re.IGNORECASE,
)
_SHORTEST = 8  # characters of a key that is hidden wherever it stands; "EMPTY" is none
_secrets: dict[str, str] = {}


def printable(text: str, *, keep: str = "") -> str:
    r"""The text with everything that is no visible character as an escape, such as `\x1b`.

    Letters, accents, emoji and their joiners stay, in all languages.

    Args:
      text: such as a file's name.
      keep: characters that stay as well, such as "\n".
    """

    def escape(match: re.Match[str]) -> str:
        character = match[0]
        return character if character in keep else character.encode("unicode_escape").decode()

    return _UNPRINTABLE.sub(escape, text)


def well_formed(text: str) -> str:
    """Text that is kept as data, with only the halves of characters as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def hide(secret: str, instead: str) -> None:
    """From now on `masked` hides a secret wherever it stands, also as it is written in addresses.

    Args:
      secret: a key. One of less than eight characters is passed over: it would be found in words.
      instead: what is shown in its place.
    """
    if len(secret) >= _SHORTEST:
        _secrets[secret] = instead
        _secrets[urllib.parse.quote(secret, safe="")] = instead


def masked(text: str, also: Mapping[str, str] | None = None) -> str:
    """The text without passwords of addresses, keys in their queries, and what `hide` was told.

    Args:
      text: for people.
      also: more secrets, of any length, and what is shown in their place.
    """
    secrets = {**_secrets, **(also or {})}
    for secret in sorted(filter(None, secrets), key=len, reverse=True):
        text = text.replace(secret, secrets[secret])
    return _HEADER.sub(rf"\1{HIDDEN}", _ADDRESS.sub(_without_password, text))


def shown(text: str) -> str:
    """Text of several lines, masked and printable."""
    return printable(masked(text), keep="\n\t")


def escaped_json(text: str) -> str:
    """JSON for programs that does nothing to the terminal of who looks at it: the same values."""
    return _UNPRINTABLE.sub(
        lambda match: match[0] if match[0] == "\n" else f"\\u{ord(match[0]):04x}", text
    )


def _without_password(match: re.Match[str]) -> str:
    scheme, rest = match[1], match[2]
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    long = _LONG_PASSWORD.match(rest) if "@" in rest else None
    if "@" in authority:
        user, _, _ = authority.rpartition("@")
        # A lone name is no secret but where it is a token: abfs://container@account, ssh://me@host.
        if ":" in user or scheme.lower() in ("http://", "https://", "ftp://"):
            rest = f"{HIDDEN}{rest[len(user) :]}"
    elif long is not None:
        rest = f"{HIDDEN}{rest[long.end() - 1 :]}"
    return scheme + _SECRET_FIELD.sub(rf"\1{HIDDEN}", rest)
