"""Test cases as LiveCodeBench packs them: base64 of zlib of a pickle of one string.

A pickle is a program. This one is never run: its opcodes are listed, and only those that make one
string are let through.
"""

from __future__ import annotations

import base64
import binascii
import pickletools
import zlib

MAX_BYTES = 64 << 20  # unpacked

_STRING = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_AROUND = {"PROTO", "FRAME", "MEMOIZE", "BINPUT", "LONG_BINPUT", "STOP"}  # they make nothing


def unpack(packed: str) -> str:
    """Raises ValueError for whatever is anything else."""
    try:
        stream = zlib.decompressobj()
        pickled = stream.decompress(base64.b64decode(packed, validate=True), MAX_BYTES)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"packed test cases: {error}") from None
    if stream.unconsumed_tail:
        raise ValueError(f"packed test cases: more than {MAX_BYTES} bytes")
    if not stream.eof or stream.unused_data:
        raise ValueError("packed test cases: cut off, or with something behind them")
    strings = []
    try:
        for opcode, argument, _ in pickletools.genops(pickled):
            if opcode.name in _STRING:
                strings.append(argument)
            elif opcode.name not in _AROUND:
                raise ValueError(f"opcode {opcode.name}")
    except Exception as error:  # genops raises several kinds
        raise ValueError(f"packed test cases: no pickled string: {error}") from None
    if len(strings) != 1:
        raise ValueError(f"packed test cases: {len(strings)} strings instead of one")
    return strings[0]
