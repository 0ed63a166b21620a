"""What must not be shown: told by the name of a key or a variable, or by a value's own looks. Pure.

The rule errs on the side of hiding for environment variables, and knows vLLM's flags that are
named like a secret and are none (`max-num-batched-tokens`, `ssl-keyfile`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

HIDDEN = "(hidden)"
"""Stands for a value that is not shown."""

_SECRET = re.compile(
    r"(token|secrets?|passw(or)?d|passphrase|pwd|credentials?|(api|access|private|auth)?keys?)\d*\Z"
)
_ABOUT = {
    "count", "dir", "enabled", "expiry", "file", "format", "header", "id", "ids", "len", "length",
    "limit", "name", "names", "path", "size", "threshold", "timeout", "ttl", "type", "url", "usage",
}  # fmt: skip
"""Words behind it that make it tell *about* a secret: HF_TOKEN_PATH, token-threshold."""
_SECRET_VALUE = re.compile(
    r"(hf_[A-Za-z0-9]{16}|sk-(?=[\w-]*\d)[\w-]{16}|gh[pousr]_\w{16}|github_pat_\w{16}|glpat-[\w-]{16}"
    r"|xox[a-z]-[\w-]{10}|AKIA[A-Z0-9]{12}|eyJ[\w-]{16}|-----BEGIN "
    r"|[A-Za-z][A-Za-z0-9+.-]{0,20}://[^\s/:@'\"]{0,200}:[^\s/@'\"]{1,200}@)[^\s'\"]*"
)
"""Tokens of Hugging Face, OpenAI, GitHub, GitLab, Slack, AWS; a JWT; a private key; a URL with a
password in it."""
_SHORTEST = 6
"""Characters of a secret that is looked for in other texts; less would match ordinary words."""
_SPECIAL_TOKEN = re.compile(r"<.*>|\[.*\]")
"""`<image>`, `</s>`, `[PAD]`: a token of a text."""
_KEYED = re.compile(r"([A-Za-z0-9_.-]+)[\"']?\s*[:=]\s*")


def is_secret(path: tuple[str | int, ...]) -> bool:
    """Whether a value that lies there must not be shown. The name of a model tells nothing."""
    if path[:1] == ("models",):
        path = path[2:]
    return any(isinstance(step, str) and _names_a_secret(step) for step in path)


def is_of_a_model(path: tuple[str | int, ...], value: object) -> bool:
    """Whether a value of `args` is named like a secret and is none, as the words of a model's own
    configuration are: `num_key_value_heads: 8`, `image_token: <image>` in hf-overrides."""
    path = path[2:] if path[:1] == ("models",) else path[path[:1] == ("defaults",) :]
    if path[:1] != ("args",):
        return False
    if isinstance(value, str):
        return _SPECIAL_TOKEN.fullmatch(value) is not None
    return not any(isinstance(step, str) and _is_secret_word(_words(step)[-1]) for step in path)


def _words(name: str) -> list[str]:
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name)  # apiKey
    return re.split(r"[^a-z0-9]+", spaced.lower())


@lru_cache(1000)  # the models of a file have the same keys
def _names_a_secret(name: str) -> bool:
    words = _words(name)
    secret = [index for index, word in enumerate(words) if _is_secret_word(word)]
    return bool(secret) and _ABOUT.isdisjoint(words[secret[-1] :])


def _is_secret_word(word: str) -> bool:
    """`token`, `secret` … at the end of any word; `key` by itself, or behind what makes it one."""
    found = _SECRET.search(word)
    return found is not None and (not found[0].startswith("key") or found.start() == 0)


def secret_words(words: Sequence[str]) -> Iterator[int]:
    """Which words of a command line are, or hold, the value of a flag that is named like a secret:
    `--api-key abc`, `--api-key=abc`."""
    named = False
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        is_flag = flag.startswith("-")
        if (named and not is_flag) or (is_flag and value and is_secret((flag.lstrip("-"),))):
            yield index
        named = is_flag and not equals and is_secret((flag.lstrip("-"),))


def without_secrets(words: Sequence[str]) -> list[str]:
    """The words of a command line as they may be shown."""
    shown = [redacted(word, ()) for word in words]
    for index in secret_words(words):
        flag, equals, _ = words[index].partition("=")
        shown[index] = f"{flag}={HIDDEN}" if equals and flag.startswith("-") else HIDDEN
    return shown


def looks_secret(text: str) -> bool:
    """Whether a text is secret by its own looks: an access token of a well-known form."""
    return _SECRET_VALUE.match(text) is not None


def redacted(text: str, secrets: Iterable[str]) -> str:
    """The text without the secrets, wherever they stand in it."""
    for secret in sorted(secrets, key=len, reverse=True):  # one may be a part of another
        if len(secret) >= _SHORTEST and secret in text:
            text = text.replace(secret, HIDDEN)
    return re.sub(rf"\b{_SECRET_VALUE.pattern}", HIDDEN, text)


def line_to_show(line: str) -> str | None:
    """A line of a YAML file for an excerpt, of the same length; None where it may be all secret.

    What follows a key that names a secret is blotted out to the end of the line, and so is
    what looks like a token. A line without any key may go on with a secret from above.
    """
    keys = list(_KEYED.finditer(line))
    if not keys:
        return None
    for key in keys:
        if _names_a_secret(key[1]):
            return line[: key.end()] + re.sub(r"\S", "*", line[key.end() :])
    return _SECRET_VALUE.sub(lambda found: "*" * len(found[0]), line)
