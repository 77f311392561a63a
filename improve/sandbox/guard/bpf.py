"""A small assembler for seccomp's filter programs (classic BPF over `struct seccomp_data`).

A program is a list of instructions. A rule's body always ends in a return, so that a rule never runs into the next.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

ALLOW: Final = 0x7FFF0000
NOTIFY: Final = 0x7FC00000
KILL: Final = 0x80000000

_NUMBER: Final = 0  # offsets in struct seccomp_data
_ARCH: Final = 4
_ARGUMENTS: Final = 16


class Instruction(NamedTuple):
    code: int
    if_true: int
    if_false: int
    value: int


Body = list[Instruction]


def error(code: int) -> int:
    """The action that makes a call return the error `code`; 0 pretends that it worked."""
    return 0x00050000 | code


def answer(action: int) -> Body:
    return [Instruction(0x06, 0, 0, action)]


def argument(index: int) -> Body:
    """Load the low 32 bits of an argument: all that the kernel looks at for int arguments."""
    return [Instruction(0x20, 0, 0, _ARGUMENTS + 8 * index)]


def mask(bits: int) -> Body:
    return [Instruction(0x54, 0, 0, bits)]


def if_equal(value: int, then: Body) -> Body:
    """Run `then` (which returns) if the loaded value is `value`."""
    return [Instruction(0x15, 0, len(then), value), *then]


def if_any_bit(bits: int, then: Body) -> Body:
    return [Instruction(0x45, 0, len(then), bits), *then]


def if_one_of(index: int, values: Iterable[int], then: int, otherwise: int) -> Body:
    """One action where argument `index` is among `values`, another where it is not."""
    body = argument(index)
    for value in values:
        body += if_equal(value, answer(then))
    return body + answer(otherwise)


def assemble(machine: str, highest: int, rules: Mapping[int, Body], beyond: int) -> bytes:
    """The program: calls in `rules` get their body, those above `highest` the action `beyond`, others are allowed.

    A call through another calling convention than `machine`'s ends the process: its numbers mean other calls.
    """
    program = [Instruction(0x20, 0, 0, _ARCH), Instruction(0x15, 1, 0, AUDIT_ARCH[machine]), *answer(KILL)]
    program += [Instruction(0x20, 0, 0, _NUMBER), Instruction(0x25, 0, 1, highest), *answer(beyond)]
    for number, body in sorted(rules.items()):
        program += if_equal(number, body)
    program += answer(ALLOW)
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
