#!/usr/bin/env python3
"""Writes envoy/http3.yaml: envoy.yaml with a listener over QUIC beside its own.

What both listeners have in common, the other one takes by YAML's anchors and aliases, so that it is written once.
"""

from __future__ import annotations

from pathlib import Path

ENVOY = Path(__file__).resolve().parents[2] / "envoy"

HEAD = """\
# envoy.yaml and HTTP/3: the same listener, and beside it one over QUIC with the same filters, the same policy and the same VM.
# For Envoy 1.40 and later: an older one does not ask for a client's certificate over QUIC, so that every caller is 401
# certificate_missing there. README.md says what is different over HTTP/3.
#
# What this file has more than envoy.yaml is marked "HTTP/3" (tests/tools/http3_yaml.py writes it). The files that it reads, and
# how to run it elsewhere, are those of envoy.yaml. Callers reach HTTP/3 by UDP, on the port that alt-svc names: open it in the
# firewall, too.

"""

CHANGES = [
    ("                tls_certificates:\n", "                tls_certificates: &certificates\n"),
    ("                validation_context:\n", "                validation_context: &trust\n"),
    ("                common_http_protocol_options:\n", "                common_http_protocol_options: &common_http\n"),
    ("                access_log:\n", """\
                # HTTP/3: the other listener has the same (`*name`).
                access_log: &access_log
"""),
    ("                http_filters:\n", "                http_filters: &http_filters\n"),
    ("                route_config:\n", """\
                route_config: &routes
                  # HTTP/3: tells callers that it is there, for a day, and on which UDP port they reach it.
                  response_headers_to_add:
                    - header: { key: alt-svc, value: 'h3=":8443"; ma=86400' }
"""),
]
"""Lines of the listener `mtls`, each of which it has once, and what becomes of them."""

LISTENER = """\
    # HTTP/3: the same over QUIC.
    - name: mtls_http3
      address:
        socket_address: { protocol: UDP, address: 0.0.0.0, port_value: 8443 }
      per_connection_buffer_limit_bytes: 65536
      udp_listener_config:
        quic_options: {}
        downstream_socket_config: { prefer_gro: true }
      filter_chains:
        - transport_socket:
            name: envoy.transport_sockets.quic
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.transport_sockets.quic.v3.QuicDownstreamTransport
              # A request in early data can be replayed. Envoy gives out no sessions over QUIC, as long as nobody sets the runtime
              # guard envoy.reloadable_features.quic_mtls_resumption_disabled_by_default to false; the two settings above
              # against resumption have no effect here.
              enable_early_data: false
              downstream_tls_context:
                require_client_certificate: false
                common_tls_context:
                  alpn_protocols: [h3]
                  tls_certificates: *certificates
                  validation_context: *trust
          filters:
            - name: envoy.filters.network.http_connection_manager
              typed_config:
                "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
                stat_prefix: mtls_http3
                codec_type: HTTP3
                use_remote_address: true
                normalize_path: true
                merge_slashes: true
                path_with_escaped_slashes_action: REJECT_REQUEST
                common_http_protocol_options: *common_http
                request_headers_timeout: 10s
                proxy_100_continue: true
                stream_idle_timeout: 30s
                http3_protocol_options:
                  quic_protocol_options: { max_concurrent_streams: 100 }
                access_log: *access_log
                http_filters: *http_filters
                route_config: *routes

"""
NEXT = "\n    # Metrics for Prometheus"


def made(envoy_yaml: str) -> str:
    """The text of http3.yaml, from that of envoy.yaml."""
    before, start, rest = envoy_yaml.partition("static_resources:\n")
    listener, following, others = rest.partition(NEXT)
    assert start and following, "a part of envoy.yaml is not where it was"
    for old, new in CHANGES:
        assert listener.count(old) == 1, f"{old.strip()} stands {listener.count(old)} times in the listener of envoy.yaml"
        listener = listener.replace(old, new)
    return HEAD + start + listener + "\n" + LISTENER.rstrip("\n") + "\n" + following + others


if __name__ == "__main__":
    (ENVOY / "http3.yaml").write_text(made((ENVOY / "envoy.yaml").read_text()))
