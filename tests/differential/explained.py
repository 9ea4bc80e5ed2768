"""Where the filter takes a certificate that the reference does not, on purpose: each kind with its reason.

A difference is explained only if repairing exactly that place in the certificate, and nothing else, makes the reference
take it and read in it what the filter read in the original.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from . import certificate_reference, der
from .der import Node

PUBLIC_KEY = "public key"
"""Not a repair: everything is read but the key cannot be used."""

Repair = Callable[[Node], bool]
"""Repairs the places of one kind; did it find any?"""


def repairs(data: bytes) -> Iterator[tuple[tuple[str, ...], bytes]]:
    """The certificate with one kind of places repaired, then with two, then with more."""
    try:
        tree = der.read_one(data)
    except der.Unreadable:
        return
    for count in range(1, 4):
        for names in itertools.combinations(REPAIRS, count):
            repaired = copy.deepcopy(tree)
            if all([REPAIRS[name](repaired) for name in names]):
                yield names, bytes(repaired)


def key_is_unusable(data: bytes) -> bool:
    """Can the reference not use the public key?"""
    return certificate_reference.key_problem(data) is not None


REPAIRS: dict[str, Repair] = {}


def why_stricter(group: str, refused: str, data: bytes, theirs: Any) -> str:
    """A guess, for counting."""
    return ""
