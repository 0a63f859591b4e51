#!/usr/bin/env bash
# Every check of the project, on servers of its own: it neither needs nor disturbs a running demo. The first failure
# ends it; what cannot run on this machine is told as NOT RUN with the reason.
#   test.sh          what CI runs
#   test.sh faults   only the fault tests, ten rounds instead of two
# The tests find in their environment:
#   TEST_DATABASE_URL      the administrator of the cluster
#   DAYBOOK_SETUP_SEED     what the passwords of the cluster's roles follow from, one for all tests
#   KAFKA_BROKERS          the broker
#   TEST_POSTGRES_CTL, TEST_KAFKA_CTL   scripts with the verbs start, stop, kill9, status, url; not set where the
#                          servers are given by DATABASE_URL or KAFKA_BROKERS, which are nobody's to kill
#   TEST_DAYBOOK_BIN       the binary
#   TEST_FAULT_ROUNDS      how often each process is killed
#   DAYBOOK_DATA           the real data set, where it is there
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

faults_only=
if [ "${1:-}" = faults ]; then faults_only=1; fi
export DAYBOOK_HOME=$STATE/test
STATE=$DAYBOOK_HOME RUN=$DAYBOOK_HOME/run LOG=$DAYBOOK_HOME/log
cd "$ROOT"
results=()
began=$EPOCHREALTIME

passed() {
  results+=("PASS     $1")
  say "PASS       $1 ($(seconds_since "$2"))"
}

not_run() {
  results+=("NOT RUN  $1 ($2)")
  say "NOT RUN: $1 ($2)"
}

# check NAME COMMAND…: runs it with its output in a log, which is shown when it fails.
check() {
  local name=$1 since=$EPOCHREALTIME log
  shift
  log=$LOG/check-${name//[^a-z]/-}.log
  if [ -t 1 ]; then printf 'running    %s\r' "$name"; fi
  if ! "$@" >"$log" 2>&1 </dev/null; then
    tail -n 60 "$log" >&2
    die "$name failed: $* (all of it in $log)"
  fi
  passed "$name" "$since"
}

# ---- static checks ---------------------------------------------------------------------------------------------

syntax_of_scripts() {
  local script
  for script in scripts/*.sh .ci/run; do bash -n "$script" || return 1; done
}

check_scripts() {
  check "scripts: syntax" syntax_of_scripts
  if command -v shellcheck >/dev/null; then
    check "scripts: shellcheck" shellcheck scripts/*.sh .ci/run
  else
    not_run "scripts: shellcheck" "it is not installed"
  fi
}

check_compose() {
  if docker compose version >/dev/null 2>&1; then
    check "compose.yaml: docker compose config" docker compose -f compose.yaml config --quiet
  elif command -v docker-compose >/dev/null; then
    check "compose.yaml: docker-compose config" docker-compose -f compose.yaml config --quiet
  else
    not_run "compose.yaml: docker compose config" "there is no docker compose"
    if python3 -c 'import yaml' 2>/dev/null; then
      check "compose.yaml: structure" python3 scripts/compose_structure.py compose.yaml
    else
      not_run "compose.yaml: structure" "there is no python3 with yaml"
    fi
  fi
  not_run "docker/Dockerfile: build" "it needs a Docker engine"
}

# The chart, alerts, dashboards and runbooks; the script tells for itself what cannot run.
check_charts() {
  scripts/charts.sh "$@" || die "the chart's checks failed"
  mapfile -t -O "${#results[@]}" results <"$LOG/charts.results"
}

check_dependencies() {
  if ! scripts/install.sh cargo-deny; then
    not_run "cargo deny" "it could not be installed, see $LOG/cargo-deny.log"
    return
  fi
  check "cargo deny: bans, licences, sources" cargo deny --locked check --hide-inclusion-graph bans licenses sources
  if compgen -G "${CARGO_HOME:-$HOME/.cargo}/advisory-dbs/*" >/dev/null; then
    check "cargo deny: advisories" cargo deny --locked check --disable-fetch advisories
  else
    not_run "cargo deny: advisories" "there is no copy of RustSec's database here"
  fi
}

check_code() {
  check "cargo fmt" cargo fmt --all --check
  check_dependencies
  check "cargo clippy, warnings denied" cargo clippy --workspace --all-targets --locked --quiet -- -D warnings
  check "rustdoc, warnings denied" env RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps --locked --quiet
}

# ---- on real servers -------------------------------------------------------------------------------------------

stop_servers() {
  scripts/kafka.sh stop || true
  scripts/postgres.sh stop || true
}

start_servers() {
  # Fresh ones every time, so that no run depends on what the one before has left; the jars stay.
  scripts/kafka.sh forget
  scripts/postgres.sh forget
  rm -f "$STATE/env"
  trap stop_servers EXIT
  scripts/postgres.sh start
  scripts/kafka.sh start
  TEST_DATABASE_URL=$(scripts/postgres.sh url)
  export TEST_DATABASE_URL
  if [ -z "${DATABASE_URL:-}" ]; then export TEST_POSTGRES_CTL=$ROOT/scripts/postgres.sh; fi
  if [ -z "${KAFKA_BROKERS:-}" ]; then export TEST_KAFKA_CTL=$ROOT/scripts/kafka.sh; fi
  KAFKA_BROKERS=$(scripts/kafka.sh url)
  export KAFKA_BROKERS
  export DAYBOOK_SETUP_SEED=${DAYBOOK_SETUP_SEED:-daybook-tests-one-seed-a-cluster}
}

build_binary() {
  check "cargo build" cargo build --locked --quiet -p daybook
  export TEST_DAYBOOK_BIN=${CARGO_TARGET_DIR:-$ROOT/target}/debug/daybook
}

setup() {
  "$TEST_DAYBOOK_BIN" setup --admin-url "$TEST_DATABASE_URL" --env-file "$STATE/env" --prefix daybook_check \
    --environment development
}

# Run again it must change nothing, the passwords in the env file neither.
setup_again() {
  cp -p "$STATE/env" "$STATE/env.before"
  setup && diff -q "$STATE/env.before" "$STATE/env"
}

check_generated() {
  check "event schemas are those of the code" "$TEST_DAYBOOK_BIN" schemas --check
  check "OpenAPI documents are those of the code" "$TEST_DAYBOOK_BIN" openapi --check
}

find_data() {
  DAYBOOK_DATA=${DAYBOOK_DATA:-${DATA:-}}
  if [ -z "$DAYBOOK_DATA" ] && [ -f "$ROOT/../shared/berka/trans.asc" ]; then
    DAYBOOK_DATA=$(realpath "$ROOT/../shared/berka")
  fi
  if [ -n "$DAYBOOK_DATA" ]; then
    export DAYBOOK_DATA
  else
    unset DAYBOOK_DATA
    not_run "tests on the real bank's data" "there is no ../shared/berka; they ran on the sample"
  fi
  if [ -z "${TEST_POSTGRES_CTL:-}${TEST_KAFKA_CTL:-}" ]; then
    not_run "kills of PostgreSQL and Kafka" "DATABASE_URL and KAFKA_BROKERS name servers that are not ours to kill"
  fi
}

# Runs cargo test, shows it, and adds up what its harnesses said; a run of no test is a failure.
run_tests() {
  local since=$EPOCHREALTIME log=$LOG/cargo-test.log
  # pipefail: the failure is cargo's, not tee's.
  cargo test --locked "$@" 2>&1 </dev/null | tee "$log" || die "cargo test $* failed (all of it in $log)"
  read -r total_passed total_failed total_ignored < <(
    awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$log"
  )
  [ "$total_passed" -gt 0 ] || die "cargo test $* ran no test"
  passed "cargo test $*: $total_passed tests" "$since"
}

summary() {
  say ""
  printf '%s\n' "${results[@]}"
  say ""
  say "done in $(seconds_since "$began")"
  printf '%d passed, %d failed, %d skipped\n' "$total_passed" "$total_failed" "$total_ignored"
}

"$ROOT/scripts/install.sh"
make_state
if [ -z "$faults_only" ]; then
  check_scripts
  check_compose
  scripts/charts.sh install
  check_charts "$LOG/charts.results"
  check_code
fi
build_binary
start_servers
if [ -z "$faults_only" ]; then
  check_generated
  check "setup and migrations" setup
  check "setup again changes nothing" setup_again
  check_charts roles "$LOG/charts.results" "$STATE/env" "$TEST_DAYBOOK_BIN"
fi
find_data
export TEST_FAULT_ROUNDS=${TEST_FAULT_ROUNDS:-$([ -z "$faults_only" ] && echo 2 || echo 10)}
if [ -z "$faults_only" ]; then
  run_tests --workspace
else
  run_tests -p daybook-tests fault -- --nocapture
fi
summary
