"""How deep a JSON text is nested, found without parsing it: recursion is what a hostile body wants to provoke."""

from __future__ import annotations

import re

_STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_ALL_ELSE = bytes(set(range(256)) - set(b"[]"))


def too_deep(text: bytes, most: int) -> bool:
    """Whether arrays and objects nest more than ``most`` levels. A text with no more brackets than that is not looked at
    closer; brackets that do not match count as too deep."""
    if text.count(b"[") + text.count(b"{") <= most:
        return False
    brackets = _STRINGS.sub(b"", text).translate(_ONE_KIND).translate(None, _ALL_ELSE)
    for _ in range(most):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"")  # takes the innermost level away
    return bool(brackets)
