# Daybook. `make demo` and `make test` need nothing but Debian and Rust; scripts/ has the steps.
# DATA=DIR  the data set of the demo and of the tests.  DAYBOOK_HOME=DIR  another state folder than .daybook.
# DATABASE_URL, KAFKA_BROKERS  servers to use instead of private ones.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test faults bench up roles down clean status fmt check

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## the whole way on real parts with a bank's data loaded; leaves everything running
	@DATA='$(DATA)' scripts/demo.sh

test: ## every check and every test, on servers of their own
	@DATA='$(DATA)' scripts/test.sh

faults: ## only the fault tests: each process killed ten times under load
	@DATA='$(DATA)' scripts/test.sh faults

bench: ## how fast it is on this machine, beside others (SCENARIO=name, SHORT=1; docs/benchmarks)
	@scripts/bench.sh

up: ## PostgreSQL and Kafka started, databases and topic set up
	@scripts/up.sh

roles: ## the roles and the bank simulator as separate processes (after `make up`)
	@scripts/roles.sh start

status: ## what runs
	@scripts/postgres.sh status || true
	@scripts/kafka.sh status || true
	@scripts/roles.sh status || true

down: ## stops everything; the data stays
	@scripts/down.sh

clean: ## stops everything and forgets the data
	@scripts/down.sh forget

fmt: ## formats the code
	@cargo fmt --all

check: ## the quick checks: format and clippy
	@cargo fmt --all --check
	@cargo clippy --workspace --all-targets --locked -- -D warnings
