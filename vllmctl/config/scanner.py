"""ruamel.yaml's scanner, without the two places where it takes time by the square of what it reads.

A tag, and the comment behind the `|` of a block scalar, are put together there character by
character: at 1 MB that is many seconds.
"""

from __future__ import annotations

import re
from typing import Any

from ruamel.yaml.scanner import Scanner as Original
from ruamel.yaml.scanner import ScannerError

_LONG_TAG = re.compile(r"!\S{1000}")
_COMMENT = re.compile(r" *#[^\n\0\r\x85\u2028\u2029]*")


class Scanner(Original):
    def scan_tag(self) -> Any:
        if _LONG_TAG.match(self.reader.buffer, self.reader.pointer):
            mark = self.reader.get_mark()
            raise ScannerError(None, None, "a tag of more than 1,000 characters", mark)
        return super().scan_tag()

    def scan_block_scalar_ignored_line(self, start_mark: Any) -> Any:
        if comment := _COMMENT.match(self.reader.buffer, self.reader.pointer):
            self.reader.forward(len(comment[0]))
        return super().scan_block_scalar_ignored_line(start_mark)
