"""The shipped configuration with HTTP/3 is that without it, and a listener more."""

from __future__ import annotations

import http3_yaml


def test_the_configuration_with_http3_is_made_of_the_one_without() -> None:
    # After a change of envoy.yaml: python3 tests/tools/http3_yaml.py
    text = (http3_yaml.ENVOY / "envoy.yaml").read_text()
    assert (http3_yaml.ENVOY / "http3.yaml").read_text() == http3_yaml.made(text)
