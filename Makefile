# Portcullis. `make run` and `make test` do all the set-up on a fresh Debian or Ubuntu with a Rust toolchain.
.PHONY: help run build test test-faults chaos check lint bench bench-audit bench-peers fuzz guard-eval reference sums setup-test

help:            ## these lines
	@sed -n 's/^\([a-z-]*\): .*## /make \1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: build       ## build and start the gateway on 127.0.0.1:8080, and show four requests to try
	@deploy/run.sh

build:           ## the release binary, target/release/portcullis
	@deploy/setup.sh build
	cargo build --release --locked -p portcullis

setup-test:
	@deploy/setup.sh test
	@tests/sdk/setup.sh
	@tests/clickhouse/setup.sh

test: setup-test ## every test: units, properties, whole system, the OpenAI SDK, ClickHouse
	cargo build --locked --workspace
	cargo nextest run --locked --workspace

fuzz:            ## mutated texts against the laws of screening: ten minutes, or PORTCULLIS_FUZZ_SECONDS
	PORTCULLIS_FUZZ_SECONDS=$${PORTCULLIS_FUZZ_SECONDS:-600} cargo nextest run --locked -p portcullis-policies --no-capture fuzz

# Some minutes. PORTCULLIS_CHAOS_KILLS says how often, PORTCULLIS_CHAOS_SEED repeats a run.
chaos: setup-test ## a gateway under load killed 50 times while its ClickHouse fails: nothing lost, nothing twice; prints the counts
	cargo build --locked --workspace
	PORTCULLIS_CHAOS_KILLS=$${PORTCULLIS_CHAOS_KILLS:-50} cargo nextest run --locked --workspace --test chaos --no-capture

test-faults: setup-test ## a full file system and a disk whose syncs fail, under a real gateway; needs strace, and root or user namespaces
	@tests/faults.sh

lint:            ## clippy with the workspace's lints as errors, and formatting
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo fmt --all --check

reference: build ## docs/rules.md, the list of all rules
	target/release/portcullis policy reference --policy policies/policy.yaml > docs/rules.md

sums:            ## policies/packs/SHA256SUMS, after a shipped pack was changed: packs that are not listed there are proved at every start
	cd policies/packs && LC_ALL=C sha256sum *.yaml > SHA256SUMS

GUARD_MODEL ?= guard-model/weights/small
GUARD_DATA ?= guard-model/data/eval
# The card's tables hold more sources than lie here: they are replaced only where GUARD_CARD names a card.
GUARD_CARD ?=
guard-eval: build ## the guard model on rows it has not learned from: tables, and plots in target/guard-eval
	target/release/portcullis guard eval --model $(GUARD_MODEL) --data $(GUARD_DATA) --plots target/guard-eval $(if $(GUARD_CARD),--card $(GUARD_CARD))

bench: build     ## the scanner's and the whole path's figures; prints tables
	cargo bench --locked -p portcullis-benches --bench scan
	cargo bench --locked -p portcullis-benches --bench holdback
	cargo bench --locked -p portcullis-benches --bench gateway

bench-audit: build setup-test ## the audit trail's figures: recording, delivery, reports, durability, a backlog of ten million; prints tables
	cargo bench --locked -p portcullis-benches --bench audit_trail
	cargo bench --locked -p portcullis-benches --bench audit_latency

# Without Python or a package registry the bench says so in its table.
bench-peers:     ## the same texts through the scanner, a set of plain expressions and Presidio
	-benches/presidio/setup.sh
	cargo bench --locked -p portcullis-benches --bench peers
