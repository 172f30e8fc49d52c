"""Text in UTF-8 that is read piece by piece: where a piece may end."""

from __future__ import annotations

import codecs


def whole_letters(data: bytes) -> bytes:
    """The bytes without the beginning of a letter that is cut at their end; that belongs to the next piece."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data[-4:])
    cut, _ = decoder.getstate()
    return data[:len(data) - len(cut)]
