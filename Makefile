# Portico. 'make run' and 'make test' do all the set-up on a Debian or Raspberry Pi OS machine; Rust is all they ask for.
.PHONY: help run test test-long test-board test-reference cross-arm64 lint lint-yocto parse-yocto deb bench bench-signalling count soak fuzz docs clean setup-build setup-run setup-test

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 16

run: setup-run ## build and start the gateway with the camera, or a test picture; prints the URL to open
	cargo build --release --locked --bin portico
	target/release/portico run $(ARGS)

test: setup-run setup-test lint ## everything but the VM: unit, property, real browser, aiortc, GStreamer, RTSP
	cargo check --locked --no-default-features --lib --profile test
	cargo test --locked

test-long: setup-run setup-test ## what only shows in real time: whole heartbeats, minutes of silence, a clip of ten minutes
	cargo test --locked --test long -- --ignored $(ARGS)

test-board: ## a virtual V4L2 camera (vivid) and systemd in a test VM; root, about 1 GB of downloads the first time
	tests/vm/board-tests

test-arm64: ## 64-bit ARM under qemu-user: size, unit tests, package, an installation that is played from; Debian 12 and root, 3.5 GB the first time
	tests/arm64/arm64-tests

cross-arm64: ## the program for 64-bit ARM boards, built without Docker: target/cross/portico; Debian 12 and root, 2.5 GB the first time
	tools/cross-arm64

deb-arm64: ## the Debian package for 64-bit ARM boards, built the same way, in target/debian
	tools/cross-arm64 package

test-reference: ## the scripts of the tests' clients against the original servers, 6 minutes
	@tools/ensure-packages test
	@tools/ensure-test-clients
	@tools/ensure-reference-servers
	node tests/reference/check.mjs

lint: setup-build ## formatting and clippy
	@cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1 || \
		{ echo "portico: rustfmt or clippy is missing. Run: rustup component add rustfmt clippy" >&2; exit 1; }
	cargo fmt --all -- --check
	cargo clippy --locked --all-targets -- -D warnings

lint-yocto: ## the Yocto layer by oelint-adv, 2 s
	@tools/ensure-oelint
	target/oelint/bin/oelint-adv --release wrynose --suppress oelint.vars.homepageping --quiet \
		$$(find yocto -name '*.bb' -o -name '*.bbappend' -o -name layer.conf)

parse-yocto: ## the Yocto layer by a BitBake that is at hand: BITBAKE=… OECORE=… META_OE=… [LAYERS='…'], see yocto/README.md; 5 minutes
	tools/parse-yocto "$(BITBAKE)" "$(OECORE)" "$(META_OE)" $(LAYERS)

bench: setup-run ## CPU per forwarded packet, latency, memory; see docs/design/performance.md
	cargo build --release --locked --bin portico
	target/release/portico bench $(ARGS)

bench-signalling: setup-run ## memory per idle session, CPU per message, beside the original servers; see docs/design/performance.md
	@tools/ensure-reference-servers
	cargo build --release --locked --bin portico
	cargo bench --locked --bench signalling -- $(ARGS)

count: setup-run ## instructions per forwarded packet, beside the committed figures; UPDATE=1 writes them anew; 20 s and the builds
	@tools/ensure-packages test
	cargo test --locked --no-run --test instructions
	tools/count-instructions target/debug/portico debug
	cargo build --release --locked --bin portico
	tools/count-instructions target/release/portico release

soak: setup-run ## half an hour of viewers that come and go over a bad line: nothing may grow; SECONDS=60 for less
	cargo build --release --locked --bin portico
	target/release/portico bench soak --seconds $(or $(SECONDS),1800) $(ARGS)

fuzz: setup-build ## every decoder of bytes from outside under libFuzzer, 60 s each (SECONDS_EACH=10 for less, TARGETS=tribe for some)
	tools/fuzz $(TARGETS)

deb: setup-build ## the Debian package of this machine's kind, in target/debian; an optimised build
	@tools/ensure-packages package
	@tools/ensure-cargo-deb
	cargo build --profile dist --locked --bin portico
	deb=$$(packaging/build-deb target/dist/portico) && packaging/check-deb "$$deb"

docs: ## rewrite the reference pages that are generated from the code
	UPDATE=1 cargo test --locked --lib checked_in

clean: ## remove what was built
	cargo clean
	rm -rf tests/clients/node_modules tests/reference/node_modules tests/.venv

setup-build:
	@tools/ensure-rust
	@tools/ensure-packages build

setup-run: setup-build
	@tools/ensure-packages run

setup-test:
	@tools/ensure-packages test
	@tools/ensure-test-clients
