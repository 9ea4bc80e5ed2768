"""The parts of an end-to-end test: certificates, tokens, a real Envoy, an upstream and clients."""
