"""What a token issuer's key server answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .fetched import Answer
from .tokens import Signer


def key_set(*keys: Signer | Mapping[str, Any], **more: Any) -> Answer:
    """A good answer with these keys, and `more` members beside `keys`."""
    listed = [key.jwk() if isinstance(key, Signer) else dict(key) for key in keys]
    return Answer(json.dumps({"keys": listed, **more}).encode())
