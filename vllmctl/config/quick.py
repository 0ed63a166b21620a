"""The events of a YAML text by libyaml, which is thirty times faster, where it may be asked.

libyaml reads YAML 1.1, and ruamel.yaml reads 1.2. Most files mean the same to both; the texts for
which that is not certain are left to ruamel.yaml, and so is every text with a mistake, because
its messages and places are the ones that are shown. test_quick.py holds the two against each other.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from ruamel.yaml.events import Event, StreamEndEvent

try:
    from _ruamel_yaml import CParser
except ImportError:  # a Python for which there is no wheel: slower, and nothing else
    CParser = None

_UNCERTAIN = re.compile(
    r"""
    [^\n\x20-\x7e\xa1-\u1fff\u2010-\u2027\u2030-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]
    | \\                                    # escapes
    | ^ (?: % | --- | \.\.\. )              # directives and documents
    | (?: ["'\]}] | \*[\w-]+ ) \s* :\S       # "key":value
    | (?: ^ | [\s\[\]{},:?-] ) (?:          # where a token begins:
        ! | \?                              # tags, and keys that are said to be keys
      | [|>] [-+0-9]* [ ]* (?: \#.* )? $    # block scalars
      | [&*] [\w-]* [^\w\s,\[\]{}-]         # names of anchors with unusual characters
      )
    """,
    re.VERBOSE | re.MULTILINE,
)


def quick_events(text: str) -> Iterator[Event] | None:
    """The events, which may end in any exception; None where libyaml must not be asked."""
    if CParser is None or _UNCERTAIN.search(text):
        return None
    return _events(CParser(text))


def _events(parser: CParser) -> Iterator[Event]:
    while True:
        event = parser.get_event()
        yield event
        if isinstance(event, StreamEndEvent):
            return
