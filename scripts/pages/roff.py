"""A manual page in the macros of man(7)."""

from __future__ import annotations

from vllmctl import __version__


class Man:
    """A page in the macros of man(7)."""

    def __init__(self, name: str, section: int, says: str) -> None:
        self._lines = [
            '.\\" Made by scripts/generate-docs; edit what it is made from.',
            f'.TH {roff(name)} {section} "" "vllmctl {__version__}" "vllmctl"',
            ".nh",
            ".ad l",
        ]
        self.section("NAME")
        self.line(f"{roff(name.lower())} \\- {roff(says)}")

    def section(self, title: str) -> None:
        self.line(f".SH {title}")

    def line(self, raw: str) -> None:
        """A line that is roff already."""
        self._lines.append(ascii_only(raw))

    def text(self, text: str) -> None:
        self.line(".PP")
        self.line(prose(text))

    def term(self, term: str, text: str, *, code: bool = True) -> None:
        """`code`: the term is plain text, to be set in bold."""
        self.line(".TP")
        self.line(f"\\fB{roff(term)}\\fR" if code else term)
        if text:
            self.line(prose(text))

    def more(self, text: str) -> None:
        """Another line under the last term."""
        self.line(".br")
        self.line(prose(text))

    def verbatim(self, text: str) -> None:
        self.line(".PP")
        self.line(".EX")
        for line in text.splitlines():
            self.line(guarded(roff(line)))
        self.line(".EE")

    def done(self) -> str:
        return "\n".join(self._lines) + "\n"


def prose(text: str) -> str:
    """Text with `code` in bold."""
    parts = text.split("`")
    set_parts = [f"\\fB{roff(p)}\\fR" if i % 2 else roff(p) for i, p in enumerate(parts)]
    return guarded("".join(set_parts))


def guarded(line: str) -> str:
    """A line of text that begins with a dot or a quote would be taken for a request."""
    return f"\\&{line}" if line.startswith((".", "'", "\\(aq")) else line


_ROFF = {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga", "^": "\\(ha", "~": "\\(ti"}


def roff(text: str) -> str:
    """Plain text so that it comes out as it is, and can be copied from the page."""
    return "".join(_ROFF.get(character, character) for character in text)


def ascii_only(line: str) -> str:
    return "".join(c if c.isascii() else f"\\[u{ord(c):04X}]" for c in line)
