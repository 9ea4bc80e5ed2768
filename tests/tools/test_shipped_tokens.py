"""The shipped configurations take a token from `Authorization` alone and leave it there for the filter."""

from __future__ import annotations

import pathlib
import re

import pytest

ENVOY = pathlib.Path(__file__).parents[2] / "envoy"


@pytest.mark.parametrize(("file", "provider", "headers", "forwards"), [
    ("envoy.yaml", "payload_in_metadata:", "from_headers:", "forward: true"),
    ("http3.yaml", "payload_in_metadata:", "from_headers:", "forward: true"),
    ("istio/request-authentication.yaml", "- issuer:", "fromHeaders:", "forwardOriginalToken: true"),
])
def test_a_shipped_issuer_has_its_tokens_in_authorization_alone_and_forwards_them(
    file: str, provider: str, headers: str, forwards: str
) -> None:
    text = re.sub(r"^ *#.*\n", "", (ENVOY / file).read_text(), flags=re.M)
    places = re.findall(rf"{headers}\n( +)- name: (\w+)\n(?:\1  \w+: .*\n)*(?!\1- )", text)
    assert {name for _, name in places} == {"Authorization"}
    assert len(places) == text.count(headers) == text.count(provider) == text.count(forwards) == 2
    assert not re.search(r"from_?(params|cookies)", text, re.I)
