"""What of a text that was sent or answered may be kept: no media, and no credential."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from llmlb.store.redaction import HIDDEN, is_secret_name

MEDIA_RUN_CHARS = 100
"""So much base64 in one piece is media wherever it stands: no word is so long."""

MEDIA_LINE_CHARS = 60
"""And so much in each of two lines that follow one another: mails have 76, keys 64."""

_MEDIA_NAMES = frozenset(
    {"b64_json", "partial_image_b64", "file_data", "image_data", "audio_data", "data"}
)
"""Members that hold nothing but base64, be it short, in the dialects that we speak."""

_IN_AUDIO_EVENTS = frozenset({"delta", "audio"})
"""And in events that bring speech piece by piece, which is what their types end in."""

# JSON may hold JSON as a text, so a quote or an escape may have several backslashes before it.
# Every repetition is possessive or bounded, so that the time is linear in the text; and what is
# sought begins with something that is found fast.
_QUOTE = r'\\{0,8}+"'
_BASE64 = r"[A-Za-z0-9+/_=-]"
_ESCAPED = r"\\{1,8}+(?:[/nrt]|u00[0-9A-Fa-f]{2})"

_ESCAPES = re.compile(r"((?:\\\\)++)|\\/|((?:\\u[0-9A-Fa-f]{4})++)")
"""Those that need not be; backslashes that are escaped have to be seen, too."""

_DATA_URL = re.compile(
    r"[dD][aA][tT][aA]:(?:[\w.+-]{1,100}/[\w.+-]{1,100}|(?=;))(?:;[\w.+=-]{1,100}){0,10},"
    rf"((?:[^\"'\s\\<>()]++|{_ESCAPED})*+)"
)
_MEMBER = re.compile(rf'"([\w-]{{1,60}}+){_QUOTE}\s{{0,20}}:\s{{0,20}}{_QUOTE}')
"""The name of a member whose value is a text, up to the value."""

_MEDIA = re.compile(rf"(?<![A-Za-z0-9+/_=\\-])(?:{_BASE64}++|{_ESCAPED})++(?=\\*+\"|\Z)")
_CREDENTIAL = re.compile(r"\b(?:sk[-_][A-Za-z0-9_-]{16,}+|[Bb]earer +[\w.~+/=-]{16,}+)")
_CREDENTIAL_SIGNS = ("sk-", "sk_", "earer ")
_USER_OF_URL = re.compile(r"://[^/\s\"\\@]{1,200}@")

_RUN_CHARS = (
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/_=-"
    "%\\\r\n"  # and what escapes and lines are made of
)
_RUN = re.compile(r"[A-Za-z0-9+/_=%\\\r\n-]++")
_LINE_END = re.compile(r"((?:\\(?:[bfnrt]|u(?!00[2-7])[0-9A-Fa-f]{4})|[\r\n])++)")
"""Or what no base64 goes on after: letters of other scripts within a text within JSON."""

_DRAWN = "+/_=-%\\"
"""What lines are drawn with, which are no media."""
_UNFINISHED_URL = re.compile(r"[dD][aA][tT][aA]:[\w.+/;=-]{0,300}\Z")
_LONGEST_UNFINISHED = 400


def without_media(text: str, *, whole: bool = True) -> str:
    """*text* with a marker in place of each piece of media, and of each credential.

    It may be JSON of any dialect, events with JSON in them, or none at all; what does not need an
    escape in JSON loses it. If it is not *whole*, what may be the beginning of media at its end
    goes, too. A MiB takes some 50 ms.
    """
    text = _ESCAPES.sub(_unescaped, text)
    text = _DATA_URL.sub(lambda url: f"[redacted data-url len={len(url[1])}]", text)
    text = "".join(_members(text))
    text = "".join(_runs(text))
    if not whole:
        text = text.rstrip(_RUN_CHARS)
        end = _UNFINISHED_URL.search(text, max(0, len(text) - _LONGEST_UNFINISHED))
        text = text if end is None else text[: end.start()]
    if any(sign in text for sign in _CREDENTIAL_SIGNS):
        text = _CREDENTIAL.sub(HIDDEN, text)
    return _USER_OF_URL.sub(f"://{HIDDEN}@", text)


def _unescaped(found: re.Match[str]) -> str:
    backslashes, codes = found.groups()
    if backslashes:
        return found[0]
    if not codes:
        return "/"
    units = b"".join(int(code, 16).to_bytes(2, "big") for code in codes.split("\\u")[1:])
    return "".join(map(_written, units.decode("utf-16-be", "surrogatepass")))


def _written(character: str) -> str:
    """How *character* stands within a text of JSON."""
    plain = character.isprintable() and character not in '"\\'
    return character if plain else json.dumps(character)[1:-1]


def _members(text: str) -> Iterator[str]:
    """*text* in pieces, with markers for what members hold whose names say what it is."""
    audio = "audio.delta" in text or "audio.chunk" in text
    names = _MEDIA_NAMES | _IN_AUDIO_EVENTS if audio else _MEDIA_NAMES
    done = 0
    for member in _MEMBER.finditer(text):
        name, at = member[1], member.end()
        if at < done:
            continue  # within a secret
        if name in names and (value := _MEDIA.match(text, at)):
            marker, end = _marker(value[0]), value.end()
        elif is_secret_name(name):
            marker, end = HIDDEN, _end_of_value(text, at)
        else:
            continue
        yield text[done:at]
        yield marker if end > at else ""
        done = end
    yield text[done:]


def _end_of_value(text: str, at: int) -> int:
    """Where the value ends that begins at *at*, after a quote: before the quote of its own level.

    Each level of JSON within JSON doubles the backslashes before a quote, and adds one.
    """
    own = _backslashes_before(text, at - 1, 0)
    quote = text.find('"', at)
    while quote >= 0:
        there = _backslashes_before(text, quote, at)
        if there < own:
            return quote - there
        if (there - own) % (2 * own + 2) == 0:  # more are backslashes of the value
            return quote - own
        quote = text.find('"', quote + 1)
    return len(text)


def _backslashes_before(text: str, end: int, begin: int) -> int:
    at = end
    while at > begin and text[at - 1] == "\\":
        at -= 1
    return end - at


def _runs(text: str) -> Iterator[str]:
    """*text* in pieces, with markers for base64 that is long.

    To look at every MEDIA_LINE_CHARS-th character is enough to meet each run of that length, and
    costs a tenth of looking at all.
    """
    done, at = 0, MEDIA_LINE_CHARS - 1
    while at < len(text):
        before = text[max(done, at - MEDIA_LINE_CHARS + 1) : at + 1]
        in_run = len(before) - len(before.rstrip(_RUN_CHARS))
        begin = at + 1 - in_run
        run = _RUN.match(text, begin) if in_run else None
        if run is not None and run.end() - begin >= MEDIA_LINE_CHARS:
            yield text[done:begin]
            yield _without_long_lines(run[0])
            done = at = run.end()
        at += MEDIA_LINE_CHARS
    yield text[done:]


def _without_long_lines(run: str) -> str:
    """A text without blanks, with markers for lines of it that are base64 and so long."""
    pieces = _LINE_END.split(run)  # lines and what is between them, by turns
    lines = pieces[::2]
    long = [len(line) >= MEDIA_LINE_CHARS for line in lines]
    before = False
    for n, line in enumerate(lines):
        beside = before or (n + 1 < len(lines) and long[n + 1])
        media = len(line) >= MEDIA_RUN_CHARS or (beside and long[n])
        ends_it = before and not long[n]
        before = media
        if (media or ends_it) and line.strip(_DRAWN):
            pieces[2 * n] = _marker(line)
    return "".join(pieces)


def _marker(media: str) -> str:
    return f"[redacted base64 len={len(media)}]"
