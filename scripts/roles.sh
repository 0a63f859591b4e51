#!/usr/bin/env bash
# The roles of the binary as separate processes, in the background, on the servers of the state folder.
#   roles.sh start             starts what does not run, and again what runs an older binary or configuration
#   roles.sh stop              graceful shutdown of all
#   roles.sh status            which run
#   roles.sh kill9 ROLE        SIGKILL to one, as a crash would
#   roles.sh addresses         the addresses of both APIs and of the bank as KEY=VALUE lines
#   roles.sh ops ROLE          the address of a role's /metrics, /healthz and /readyz
# DAYBOOK_HOME: another state folder. DAYBOOK_COMMAND_API_LISTEN, DAYBOOK_QUERY_API_LISTEN: fixed addresses instead of
# the first free ports from 7401 on. The other bank is the simulator; STATE/bank is its journal.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

ROLES=(command-api relay projector query-api bank-simulator sagas)
# The accounts INT-OTHER-BANKS and INT-SUSPENSE of `daybook load berka`; a test holds them to its chart.
INCOMING_BANK_ACCOUNT=00a8ffd1-1c00-7d16-9c1e-d015a310458c
INCOMING_SUSPENSE_ACCOUNT=00a8ffd1-1c00-72d0-94aa-616947ec1078

role_pid() {
  local pid
  pid=$(head -n 1 "$RUN/$1.pid" 2>/dev/null || true)
  if alive "$pid" "--env-file $STATE/env $1"; then printf '%s\n' "$pid"; fi
}

# What a role was started from: its binary, its configuration and its address.
fingerprint() {
  { stat -Lc '%i %Y %s' "$BINARY" && cat "$STATE/env" && addresses; } | sha256sum | cut -c1-16
}

# The address of API $1 (its fixed one in $2); chosen when the role starts, remembered from then on.
listen() {
  local port
  if [ -n "$2" ]; then
    printf '%s\n' "$2"
  elif [ -n "$(role_pid "$1")" ]; then
    printf '127.0.0.1:%s\n' "$(remembered_port "$1")"
  else
    choose_port port "$1" "" "$3"
    printf '127.0.0.1:%s\n' "$port"
  fi
}

addresses() {
  printf 'DAYBOOK_COMMAND_API_LISTEN=%s\n' "$(listen command-api "${DAYBOOK_COMMAND_API_LISTEN:-}" 7401)"
  printf 'DAYBOOK_QUERY_API_LISTEN=%s\n' "$(listen query-api "${DAYBOOK_QUERY_API_LISTEN:-}" 7402)"
  printf 'DAYBOOK_BANK_URL=http://%s\n' "$(listen bank-simulator "" 7403)"
}

# Where role $1 serves its metrics and probes; remembered from its start on.
ops() {
  local port
  port=$(remembered_port "ops-$1") || exit 1
  printf '127.0.0.1:%s\n' "$port"
}

kept() { sed -n "s/^$1=//p" "$STATE/env"; }

# A secret of the env file, made up the first time.
secret() {
  local text
  text=$(kept "$1")
  printf '%s=%s\n' "$1" "${text:-$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')}"
}

# What makes the simulator our bank.
bank_settings() {
  secret DAYBOOK_BANK_SECRET
  secret DAYBOOK_WEBHOOK_SECRETS
  printf 'DAYBOOK_INCOMING_BANK_ACCOUNT=%s\n' "$INCOMING_BANK_ACCOUNT"
  printf 'DAYBOOK_INCOMING_SUSPENSE_ACCOUNT=%s\n' "$INCOMING_SUSPENSE_ACCOUNT"
}

# Puts the addresses into the env file as well, for `daybook --env-file` by hand, and the bank's settings.
keep_addresses() {
  local text ours='^DAYBOOK_((COMMAND|QUERY)_API_LISTEN|BANK_URL|BANK_SECRET|WEBHOOK_SECRETS|INCOMING_(BANK|SUSPENSE)_ACCOUNT)='
  text=$(grep -vE "$ours" "$STATE/env" && addresses && bank_settings)
  if [ "$text" = "$(<"$STATE/env")" ]; then return; fi
  (umask 077 && printf '%s\n' "$text" >"$STATE/env.new")
  mv "$STATE/env.new" "$STATE/env"
}

# The usual port of a role's operations listener.
ops_from() {
  case $1 in
    command-api) echo 7411 ;;
    query-api) echo 7412 ;;
    relay) echo 7413 ;;
    projector) echo 7414 ;;
    *) echo 7415 ;;
  esac
}

ready_or_dead() { curl -sf -m 2 -o /dev/null "$1" || ! kill -0 "$2" 2>/dev/null; }

# Where role $1 says that it can do its work; the simulator is another company's and has no listener for us.
ready_url() {
  if [ "$1" = bank-simulator ]; then printf '%s/healthz\n' "$DAYBOOK_BANK_URL"; else printf 'http://%s/readyz\n' "$(ops "$1")"; fi
}

start_role() {
  local role=$1 mark=$2 pid ops_port=
  pid=$(role_pid "$role")
  if [ -n "$pid" ]; then
    if [ "$(sed -n 2p "$RUN/$role.pid")" = "$mark" ]; then return; fi
    stop_role "$role"
  fi
  rotate_log "$LOG/$role.log"
  if [ "$role" != bank-simulator ]; then choose_port ops_port "ops-$role" "" "$(ops_from "$role")"; fi
  local -a options=()
  if [ "$role" = bank-simulator ]; then
    mkdir -p "$STATE/bank"
    options=(--listen "${DAYBOOK_BANK_URL#http://}" --journal "$STATE/bank/journal"
      --webhook-url "http://$DAYBOOK_COMMAND_API_LISTEN/v1/webhooks/payments")
  fi
  DAYBOOK_OPS_LISTEN=${ops_port:+127.0.0.1:$ops_port} setsid "$BINARY" --env-file "$STATE/env" "$role" "${options[@]}" </dev/null >>"$LOG/$role.log" 2>&1 9>&- &
  printf '%s\n%s\n' "$!" "$mark" >"$RUN/$role.pid"
}

# Waits until role $1 says that it can do its work.
await_role() {
  local role=$1 pid
  pid=$(head -n 1 "$RUN/$role.pid")
  wait_until 60 ready_or_dead "$(ready_url "$role")" "$pid" || die "$role is not ready after a minute, see $LOG/$role.log"
  kill -0 "$pid" 2>/dev/null || {
    tail -n 15 "$LOG/$role.log" >&2
    die "$role has stopped, see $LOG/$role.log"
  }
}

start() {
  local role mark began=$EPOCHREALTIME
  lock_state
  [ -x "$BINARY" ] || die "$BINARY is not built: run make up"
  [ -r "$STATE/env" ] || die "$STATE/env is not there: run make up"
  set -a
  eval "$(addresses)"
  set +a
  keep_addresses
  mark=$(fingerprint)
  for role in "${ROLES[@]}"; do start_role "$role" "$mark"; done
  for role in "${ROLES[@]}"; do await_role "$role"; done
  say "roles      ${ROLES[*]}: ready ($(seconds_since "$began"))"
}

stop_role() {
  local pid
  pid=$(role_pid "$1")
  [ -n "$pid" ] || return 0
  kill -TERM "$pid" 2>/dev/null || true
  wait_gone 30 "$pid" "--env-file" || {
    say "roles      $1 does not stop within 30 s: killed"
    kill -KILL "$pid" 2>/dev/null || true
    wait_gone 10 "$pid" "--env-file" || die "$1 (pid $pid) survived SIGKILL"
  }
  rm -f "$RUN/$1.pid"
}

stop() {
  local role any=
  for role in "${ROLES[@]}"; do
    if [ -n "$(role_pid "$role")" ]; then any=1; fi
    stop_role "$role"
  done
  if [ -n "$any" ]; then say "roles      stopped"; fi
}

kill9() {
  local pid
  pid=$(role_pid "$1")
  [ -n "$pid" ] || die "$1 does not run"
  kill -KILL "$pid"
  wait_gone 10 "$pid" "--env-file" || die "$1 (pid $pid) survived SIGKILL"
}

status() {
  local role pid running=0
  for role in "${ROLES[@]}"; do
    pid=$(role_pid "$role")
    if [ -n "$pid" ]; then
      running=$((running + 1))
      printf '%-15s runs (pid %s)\n' "$role" "$pid"
    else
      printf '%-15s does not run\n' "$role"
    fi
  done
  [ "$running" = "${#ROLES[@]}" ] || return 3
}

case ${1:-} in
  start | stop | status | addresses) "$1" ;;
  kill9 | ops) "$1" "${2:?which role}" ;;
  *) die "usage: roles.sh start|stop|status|kill9 ROLE|addresses|ops ROLE" ;;
esac
