# The commands of this project; `make help` lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
# The targets use all cores themselves, and test prints its steps in their order.
.NOTPARALLEL:
.PHONY: help wasm demo demo-docker run observe test lint unit fixtures judge load e2e soak test-audit test-upstreams test-browser test-keycloak test-oidc-provider differential less-proof mutants bench fuzz clean

export MODULE := $(CURDIR)/dist/mtls_authz.wasm
# Says natively what the filter makes of certificates and tokens.
export JUDGE := $(CURDIR)/target/debug/judge
# Sends requests and says what was answered.
export LOAD := $(CURDIR)/target/debug/load
tools := tests/tools
fixtures := $(patsubst %/Cargo.toml,%,$(wildcard tests/fixtures/*/Cargo.toml))
bench_modules := $(patsubst %/Cargo.toml,%,$(wildcard benches/wasm/*/Cargo.toml))
# In the common target folder, where tests, benchmark and judge share what they depend on.
bench_crate := --locked --manifest-path benches/Cargo.toml --target-dir target
fuzz_crate := --locked --manifest-path fuzz/Cargo.toml --target-dir target
judge_crate := --locked --manifest-path tests/differential/judge/Cargo.toml --target-dir target
# Found when a recipe runs, and made or fetched then if they are missing.
find_envoy := ENVOY=$$($(tools)/envoy.sh newest); export ENVOY
find_envoy_old := ENVOY_OLD=$$($(tools)/envoy.sh old); export ENVOY_OLD
find_proxies := PROXIES=$$($(tools)/proxies.sh); export PROXIES
find_prometheus := PROMETHEUS=$$($(tools)/prometheus.sh); export PROMETHEUS
find_audit := AUDIT_TOOLS=$$($(tools)/audit.sh); export AUDIT_TOOLS
find_browser := BROWSER=$$($(tools)/browser.sh); export BROWSER
find_upstreams := UPSTREAMS=$$($(tools)/upstreams.sh); export UPSTREAMS
find_keycloak := KEYCLOAK=$$($(tools)/keycloak.sh); export KEYCLOAK
find_oidc_provider := OIDC_PROVIDER=$$($(tools)/oidc_provider.sh); export OIDC_PROVIDER

help: ## list the targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

wasm: ## build the filter: dist/mtls_authz.wasm
	@$(tools)/wasm.sh . dist/mtls_authz.wasm

demo: wasm ## show what the filter answers: a table of real requests through a real Envoy
	@$(tools)/system.sh "for the demonstration" python3 curl openssl
	@$(find_envoy); python3 envoy/demo/demo.py

run: wasm ## the same, and leave Envoy up for experiments
	@$(tools)/system.sh "for the demonstration" python3 curl openssl
	@$(find_envoy); python3 envoy/demo/demo.py --stay

observe: wasm ## the same with Prometheus, alerts, mixed traffic, and Grafana where there is one: docs/dashboard.md
	@$(tools)/system.sh "for the demonstration" python3 curl openssl
	@$(find_envoy); $(find_prometheus); python3 envoy/observe/observe.py

demo-docker: wasm ## the same Envoy with Docker compose
	@docker compose --file envoy/docker-compose.yaml up

test: lint unit wasm fixtures e2e ## everything: lint, unit tests, the wasm build, the end-to-end suite

lint: ## formatting and clippy, for this machine and for wasm; warnings are errors
	@cargo fmt --check
	@cargo clippy --locked --all-targets -- -D warnings
	@$(tools)/wasm.sh --clippy .
	@cargo fmt --check --manifest-path benches/Cargo.toml
	@cargo clippy $(bench_crate) --all-targets -- -D warnings
	@cargo fmt --check --manifest-path fuzz/Cargo.toml
	@cargo clippy $(fuzz_crate) --all-targets -- -D warnings
	@cargo fmt --check --manifest-path tests/differential/judge/Cargo.toml
	@cargo clippy $(judge_crate) --all-targets -- -D warnings
	@for crate in $(fixtures) $(bench_modules); do \
		cargo fmt --check --manifest-path $$crate/Cargo.toml; \
		$(tools)/wasm.sh --clippy $$crate; \
	done

unit: ## unit and property tests, and what fuzzing found
	@cargo test --locked
	@cargo test $(fuzz_crate)

fixtures: # the modules that only tests load: dist/fixtures/NAME.wasm
	@for crate in $(fixtures); do $(tools)/wasm.sh $$crate dist/fixtures/$${crate##*/}.wasm; done

judge: # what the comparison with other implementations asks: target/debug/judge
	@cargo build --quiet $(judge_crate)

load: # the client of `make soak`: target/debug/load
	@cargo build --quiet $(bench_crate) --bin load

e2e: wasm fixtures judge load ## the end-to-end suite on the newest Envoy and on an old one; ARGS="-k name" for pytest
	@$(tools)/system.sh "for the end-to-end suite" python3 curl openssl jq cc
	@$(find_envoy); $(find_envoy_old); $(find_proxies); $(find_prometheus); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests

soak: wasm load ## requests with known answers while one thing after another is broken; MINUTES=5 SEED=1 ONLY="the list"
	@$(tools)/system.sh "for the long run" python3 openssl cc
	@$(find_envoy); python=$$($(tools)/python.sh); cd tests && PYTHONPATH=e2e:. \
	$$python -m soak --minutes $(or $(MINUTES),5) --seed $(or $(SEED),1) --only "$(ONLY)"

test-audit: wasm ## the audit trail to a Kafka broker that is stopped, a shipper that is killed: docs/audit.md
	@$(tools)/system.sh "for the test of the audit trail" python3 openssl
	@$(find_envoy); $(find_audit); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests/audit

test-upstreams: wasm ## spellings of denied paths against real HTTP servers: Python, nginx, Node, the JDK, Jetty, Go
	@$(tools)/system.sh "for the test with real HTTP servers" python3 openssl
	@$(find_envoy); $(find_proxies); $(find_upstreams); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests/upstreams

test-keycloak: wasm ## tokens of a real Keycloak, bound over mTLS, while its keys are rotated: docs/issuers.md
	@$(tools)/system.sh "for the test with Keycloak" python3 openssl ps
	@$(find_envoy); $(find_keycloak); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests/issuers/test_keycloak.py

test-oidc-provider: wasm ## the same with oidc-provider, from npm
	@$(tools)/system.sh "for the test with oidc-provider" python3 openssl
	@$(find_envoy); $(find_oidc_provider); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests/issuers/test_oidc_provider.py

test-browser: wasm ## pages of another origin in headless Chromium: docs/callers.md
	@$(tools)/system.sh "for the test with a browser" python3 openssl
	@$(find_envoy); $(find_browser); python=$$($(tools)/python.sh); \
	$$python -m pytest $(ARGS) tests/browser

mutants: ## change the code in ways that some test must notice, for hours; ONLY=src/policy/: a part
	@ONLY='$(ONLY)' $(tools)/mutants.sh

differential: judge ## certificates and tokens, judged by the filter and by Python's cryptography; CASES=100000 SEED=1
	@$(tools)/system.sh "for the comparison with other implementations" python3
	@python=$$($(tools)/python.sh); cd tests && $$python -m differential --cases $(or $(CASES),100000) --seed $(or $(SEED),1)

less-proof: ## less proof never gives more: a million comparisons, or CASES=50000 SEED=2
	@LESS_PROOF_CASES=$(or $(CASES),1000000) LESS_PROOF_SEED=$(or $(SEED),1) \
	cargo test --locked --test native less_proof -- --nocapture

bench: wasm ## measure on a real Envoy, beside the alternatives: a quarter of an hour on a quiet machine; QUICK=1: a smoke run
	@for crate in $(bench_modules); do $(tools)/wasm.sh $$crate dist/bench/$${crate##*/}.wasm; done
	@cargo build $(bench_crate) --release
	@$(find_envoy); python=$$($(tools)/python.sh); \
	QUICK="$(QUICK)" ROUNDS="$(ROUNDS)" SEED="$(SEED)" $$python benches/run.py

fuzz: ## make up input for every parser and the decision: SECONDS=600 for each target, or for TARGET=name alone
	@$(tools)/fuzz.sh "$(or $(SECONDS),600)" $(TARGET)

clean: ## remove what was built; .tools/ (Envoy, proxies, Python packages, Debian's Rust) stays
	rm -rf dist target envoy/certs envoy/demo/out $(addsuffix /target,$(fixtures))
