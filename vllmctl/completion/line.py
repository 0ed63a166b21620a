"""The words of a line of bash, up to the cursor. Pure.

bash hands over words that are cut at every `:`, `=` and `@` (COMP_WORDBREAKS), and expects the
answer to begin at the last of them; bash(1), "Programmable Completion". So the line itself is
read here, by the shell's rules for quotes, and the answer is cut to what bash expects.
"""

from __future__ import annotations

_BLANK = " \t\n"


def words_of(line: str) -> list[str]:
    """What the shell would make of it, quotes and backslashes removed; the last is where the
    cursor is, and is empty after a blank. A quote that is not closed yet goes on to the end."""
    words: list[str] = []
    word: list[str] = []
    begun, quote = False, ""
    characters = iter(line)
    for character in characters:
        if not quote and character in _BLANK:
            if begun:
                words.append("".join(word))
            word, begun = [], False
            continue
        begun = True
        if character == "\\" and quote != "'":
            following = next(characters, "")
            keep = quote == '"' and following not in '"\\$`'
            word.append(("\\" if keep else "") + following)
        elif character == quote:
            quote = ""
        elif not quote and character in "'\"":
            quote = character
        else:
            word.append(character)
    return [*words, "".join(word)]


def already_there(word: str, breaks: str) -> int:
    """How many characters at the word's beginning bash keeps, and does not want to hear again.

    An `@` begins a word, and belongs to it (readline's rl_special_prefixes)."""
    ends = [word.rfind(one) + 1 for one in ":=" if one in breaks]
    return max(0, *ends, word.rfind("@") if "@" in breaks else 0)
