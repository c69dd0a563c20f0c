# Recado's commands. Each may be typed at any time and as often as one likes; `make` alone lists them.
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh
CACHE := $(or $(RECADO_CACHE),$(HOME)/.cache/recado)
export PATH := $(CACHE)/tools/bin:$(PATH)
# RocksDB ready built where it can be had (docker/rocksdb.sh says what and why).
CARGO = env="$$(docker/rocksdb.sh)" && eval "$$env" && cargo
KAFKA := .recado/kafka
# Where speed is measured, the broker's Java compiles as a bank's does; tests want it to start quickly (docker/kafka.sh).
WARM_KAFKA = KAFKA_JAVA="$${KAFKA_JAVA:--XX:+TieredCompilation}"

##@ Begin here
.PHONY: help demo deps test
help: ## this list
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-20s %s\n", $$1, $$2 } /^#[+] / { printf "  %-25s %s\n", "", substr($$0, 4) }' Makefile

# The profile that `make test` builds with, so that whoever does both compiles once. Nothing in it needs a fast binary.
demo: ## shows it all on this machine: no Kafka, no Java, nothing to configure (OPTIONS="--seed 7": recado demo --help)
	@docker/deps.sh build
	@$(CARGO) run --locked --features demo -- demo $(OPTIONS)

deps: ## checks what this machine needs and installs it, or prints the one line to type
	@docker/deps.sh test

test: deps ## everything that a change must pass, on a real Apache Kafka that the tests start themselves
	@docker/kafka.sh libs > /dev/null
	@$(CARGO) test --locked --features demo

##@ With what is not ours
.PHONY: test-conformance test-registry
test-conformance: ## requests, webhooks, metrics and topics before judges of others; needs RECADO_CONFORMANCE
	@test -n "$$RECADO_CONFORMANCE" || { echo "RECADO_CONFORMANCE is unset: it must name the folder of the published API descriptions." >&2; exit 1; }
	@docker/deps.sh conformance
	@docker/kafka.sh libs > /dev/null
	@$(CARGO) test --locked --features demo --test conformance

test-registry: ## schemas in a real registry, Apicurio; needs a JDK of version 21 or newer
	@docker/deps.sh test
	@docker/parts.sh java21 > /dev/null
	@docker/kafka.sh libs > /dev/null
	@$(CARGO) test --locked --features demo --test registry

##@ While working
.PHONY: test-fast check rig rig-mutants rig-controls bench bench-gate bench-gate-bites bench-peers numbers kafka-up kafka-down build-from-source
test-fast: ## the tests that need no Java
	@docker/deps.sh build
	@$(CARGO) test --locked --features demo --lib --test tidy

check: ## formatting, lints, fences, licences
	@docker/deps.sh check
	cargo fmt --check
	@$(CARGO) clippy --locked --features rig,gate --all-targets -- -D warnings
	@$(CARGO) clippy --locked --features rig,gate --test conformance --test registry --test numbers -- -D warnings
	@$(CARGO) test --locked --features demo --test tidy
	cargo deny --locked check licenses bans sources

rig: deps ## the crash rig, 10 minutes: three brokers, kill -9 at random and at each crash point, a judge that knows the ends
#+ KILLS=50 SEED=… PROFILE=together|apart|long|one POINTS=all|none|name,… TIMES=1 (how often each point)
#+ REPEAT=20 runs each part so often; each part's own command is printed; CLOCK=ms KAFKA_CLOCK=ms LEAVE=ms: wrong all the time
#+ ROW=4: stopped processes; ROW=49: dispatchers that come and go; both with SEED and REPEAT, without KILLS
#+ ROW=8: a delayed EndTxn, without SEED, KILLS, REPEAT; MITIGATIONS=all|off|each|recycle,position_record,source_skip,dedup
#+ MITIGATIONS=off must end RED: nothing protects the engine, so both cases must break, and each says whether it did
#+ PARTS=bare,engine,blip,alone,off,lost,markers,timer for some of MITIGATIONS=all
#+ REPORT=file for what was met (of ROW=8 tests/proxy/report.md, which takes 8 minutes); KEEP=1 keeps the folders of a run
#+ EVIDENCE=folder keeps what the judge was shown; the same with JUDGE=folder instead judges it anew, without a cluster
	@docker/kafka.sh libs > /dev/null
	@$(CARGO) test --locked --features rig --lib -- crash_point a_kill_before # each kill comes where its name says
	@$(CARGO) test --locked --features rig --test $(if $(filter 8,$(ROW)),proxy,rig)

# Of the bugs of src/seeded_bug.rs six that show under kills alone: BUGS=few.
FEW_BUGS = intent_after_call resend_unknown seq_restarts skip_unfinished any_timer all_unknown
ALL_BUGS = $(shell sed -n 's/^    "\([a-z0-9_]*\)",$$/\1/p' src/seeded_bug.rs)
rig-mutants: deps ## the rig with each seeded bug, an hour: fails where one is not found for its own reason; BUGS=few (10 minutes) or BUGS="early_200 …", REPORT=file gets a line each
	@docker/kafka.sh libs > /dev/null
	@missed=; for bug in $(or $(subst few,$(FEW_BUGS),$(filter few,$(BUGS))),$(BUGS),$(ALL_BUGS)); do \
	  case $$bug in stable_end | follow_group | keep_producer) program=proxy ;; *) program=rig ;; esac; \
	  env="$$(docker/rocksdb.sh)" && eval "$$env" && SEEDED_BUG=$$bug cargo test --locked --features rig --test $$program || missed="$$missed $$bug"; \
	done; [ -z "$$missed" ] || { echo "Not found:$$missed"; exit 1; }

# The courses of tests/rig/mutants.rs with a fault that lasts: of wall_clock, one_offset and epoch_per_process.
CONTROLS = "PROFILE=together POINTS=none KILLS=6 CLOCK=2500" "PROFILE=together POINTS=none KILLS=12 KAFKA_CLOCK=900" "ROW=49 LEAVE=0"
rig-controls: deps ## Recado without a bug under the faults that some bugs need, 8 minutes: fails where one is red; SEED=…, REPORT=file gets a line each
	@docker/kafka.sh libs > /dev/null
	@env="$$(docker/rocksdb.sh)" && eval "$$env" || exit 1; red=; page="$$(mktemp)"; \
	for control in $(CONTROLS); do \
	  : > "$$page"; env $$control REPORT="$$page" cargo test --locked --features rig --test rig || red="$$red; $$control"; \
	  tell() { sed -n "$$1" "$$page"; }; \
	  line="$$(tell 1p)$$(tell '2s/^recado [^ ,]*\( at [^,]*\),.*/\1/p'): faults: $$(tell 's/^faults: //p'); $$(tell 's/^duration: //p')"; \
	  [ -s "$$page" ] || line="$$control: did not end"; \
	  echo "$$line"; [ -z "$(REPORT)" ] || echo "$$line" >> "$(REPORT)"; \
	done; rm "$$page"; [ -z "$$red" ] || { echo "Red without a bug$$red"; exit 1; }

bench: SHELL = bash
bench: ## what the way of a notification costs on this machine, in numbers: half an hour; PARTS=latency for one part, REPORT=file keeps what was said (benches/README.md)
	@docker/deps.sh test
	@set -o pipefail; export $(WARM_KAFKA); $(CARGO) bench --locked --profile ci --features demo --bench lifecycle -- $(PARTS) | tee "$(or $(REPORT),/dev/null)"

# What callgrind did not count would pass any limit: a count of 0 is red too.
bench-gate: ## how many instructions the pure parts take: red above a limit; LIMITS=off counts without judging, TWICE=1 does twice the work, so that all are red, ONLY='*seal*' some of them
	@docker/deps.sh gate
	@[ "$$(uname -m)" = x86_64 ] || echo "NOT JUDGED: the limits are those of x86-64."
	@{ export GUNGRAUN_COLOR=never; $(CARGO) bench --locked --profile ci --features gate --bench gate -- $(if $(ONLY),'$(ONLY)'); echo "ended $$?"; } | awk -v wanted=$(if $(ONLY),0,$$(grep -c 'pub const' benches/gate.rs)) \
	  '/^ended / { code = $$2; next } { print } /Instructions:/ { counted++; if ($$2 + 0 == 0) nothing++ } \
	  END { if (code == 0 && (!counted || nothing)) { print "Nothing was counted in " nothing + 0 " of " counted + 0 "."; code = 1 } \
	        if (code == 0 && wanted && counted != wanted) { print counted " were counted, and " wanted " have a limit."; code = 1 } exit code }'

# gungraun says at the end how many regressed; as many as have a limit must have.
bench-gate-bites: ## whether each of its limits bites: red unless twice the work breaks all of them
	@$(MAKE) --no-print-directory bench-gate TWICE=1 LIMITS= ONLY= 2>&1 | awk -v limits="$$(grep -c 'pub const' benches/gate.rs)" \
	  '{ last = $$0 } /^Gungraun result/ { for (at = 2; at <= NF; at++) if ($$at ~ /^regressed/) broken = $$(at - 1); told = 1; print } \
	  END { if (!told) { print "Nothing was counted: " last; exit 1 } if (broken + 0 != limits) { print broken + 0 " of " limits " limits bite."; exit 1 } }'

bench-peers: ## Recado, its floors and the same work on Kafka Streams, in turn: makes benches/RESULTS.md anew, about an hour; PROGRAMS="recado streams-b" RUNS=1 for less (benches/peers/README.md)
	@docker/deps.sh test
	@docker/kafka.sh libs > /dev/null
	@export $(WARM_KAFKA) RESULTS=$(or $(RESULTS),$(if $(PROGRAMS)$(RUNS)$(ROUNDS)$(LIVES)$(WARM)$(RATE)$(PIN)$(CLEANER),target/bench-peers.md,benches/RESULTS.md)); $(CARGO) bench --locked --profile $(or $(PROFILE),release) --features demo --bench peers -- $(PROGRAMS)

numbers: ## what is promised in numbers and what this machine gives: red where it is off, and by how much
	@docker/deps.sh test
	@docker/kafka.sh libs > /dev/null
	@export $(WARM_KAFKA); $(CARGO) test --locked --features demo --test numbers -- --nocapture

kafka-up: ## starts Apache Kafka on this machine, without Docker, and prints its address
	@docker/deps.sh test
	@docker/kafka.sh start 1 $(KAFKA)

kafka-down: ## stops it; its data stay in .recado/kafka
	@docker/kafka.sh stop $(KAFKA)

build-from-source: ## the release build: RocksDB compiled from source and linked in, which takes about 20 minutes once
	@docker/deps.sh build
	env -u ROCKSDB_LIB_DIR -u ROCKSDB_INCLUDE_DIR cargo build --locked --release --target-dir target/from-source
