# shellcheck shell=bash
# What the scripts of this folder share. Source it; it only defines names, and writes nothing.
#
#   STATE        the state folder: DAYBOOK_HOME, or .daybook in the checkout
#   STATE/run    pid files, remembered ports, the admin password of the private cluster
#   STATE/log    one log a process
#   STATE/pg, STATE/kafka   data of the private cluster and broker, owned by the server user
#   STATE/env    what `daybook setup` wrote: addresses and passwords, mode 0600

set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
STATE=$(realpath -ms "${DAYBOOK_HOME:-$ROOT/.daybook}")
RUN=$STATE/run
LOG=$STATE/log
# The binary that the demo runs.
# shellcheck disable=SC2034 # used by the scripts
BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/release/daybook
# That which the benchmark measures: a longer build (docs/adr/0032).
# shellcheck disable=SC2034 # used by the scripts
PRODUCTION_BINARY=${CARGO_TARGET_DIR:-$ROOT/target}/production/daybook
# The system user that runs the servers when the scripts run as root (both refuse, or should refuse, root).
SERVER_USER=daybook

say() { printf '%s\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

is_root() { [ "$(id -u)" = 0 ]; }

# Seconds since $1 (a value of EPOCHREALTIME), with one decimal.
seconds_since() {
  local us=$((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}))
  printf '%d.%d s' $((us / 1000000)) $((us % 1000000 / 100000))
}

# A short name for a path, for things that must live outside of it.
short_hash() { printf '%s' "$1" | sha256sum | cut -c1-10; }

make_state() {
  mkdir -p "$STATE" "$RUN" "$LOG" 2>/dev/null || true
  if [ -w "$STATE" ] && [ -w "$RUN" ] && [ -w "$LOG" ]; then return; fi
  die "$STATE cannot be written by $(id -un): run as its owner, or set DAYBOOK_HOME to a folder of your own"
}

# Takes the lock of the state folder, so that two calls at once do not start the same thing twice.
# Whatever is started in the background must close it: `9>&-`.
lock_state() {
  make_state
  exec 9>"$RUN/lock"
  flock -w 120 9 || die "another script has held $RUN/lock for two minutes"
}

# Removes the folder STATE/$1 with all it holds, wherever it lies.
forget_folder() {
  local link=$STATE/$1 real
  [ -e "$link" ] || [ -L "$link" ] || return 0
  real=$(readlink -f "$link")
  rm -rf "$real" "$link"
  # The folder in /var/lib, once its last one is gone.
  if [ "$real" != "$link" ]; then rmdir --ignore-fail-on-non-empty "$(dirname "$real")"; fi
}

# ---- the server user -------------------------------------------------------------------------------------------

# What to write before a command to run it as the server user: nothing, unless that would be root. Each part execs the
# next, so `"${AS_SERVER[@]}" … &` leaves the command's own pid in $!.
AS_SERVER=()
if is_root; then
  AS_SERVER=(env HOME=/nonexistent setpriv "--reuid=$SERVER_USER" "--regid=$SERVER_USER" --init-groups)
fi
as_server() { "${AS_SERVER[@]}" "$@"; }

# Prints the real path of STATE/$1, made if need be: a private folder of the server user. Where that user cannot
# reach the state folder (a checkout below /root), the folder lies in /var/lib and STATE/$1 is a link to it.
server_folder() {
  local link=$STATE/$1 real=$STATE/$1
  if [ ! -d "$link" ]; then
    if is_root; then
      id -u "$SERVER_USER" >/dev/null 2>&1 || die "there is no user $SERVER_USER: run scripts/install.sh"
      if ! as_server test -x "$STATE"; then
        real=/var/lib/daybook-$(short_hash "$STATE")/$1
        ln -sfn "$real" "$link"
      fi
    fi
    mkdir -p "$real"
    chmod 700 "$real"
  fi
  real=$(readlink -f "$link")
  if is_root; then
    [ "$(stat -c %U "$real")" = "$SERVER_USER" ] || chown -R "$SERVER_USER:$SERVER_USER" "$real"
  elif [ ! -O "$real" ]; then
    die "$real belongs to $(stat -c %U "$real"): run as root, or set DAYBOOK_HOME to a folder of your own"
  fi
  printf '%s\n' "$real"
}

# ---- processes -------------------------------------------------------------------------------------------------

# Is process $1 alive with $2 in its command line? A zombie's is empty, and a pid used again by another program's
# does not hold our path: so neither a crash nor a restart of the machine is mistaken for a running server.
alive() {
  [ -n "${1:-}" ] && [ -r "/proc/$1/cmdline" ] || return 1
  [[ "$({ tr '\0' ' ' <"/proc/$1/cmdline"; } 2>/dev/null)" == *"$2"* ]]
}

# Waits until `$2…` succeeds, for $1 seconds.
wait_until() {
  local tries=$(($1 * 10))
  shift
  until "$@"; do
    [ $((tries -= 1)) -gt 0 ] || return 1
    sleep 0.1
  done
}

# Waits until process $2 (with $3 in its command line) is gone, for $1 seconds.
wait_gone() { wait_until "$1" gone "$2" "$3"; }
gone() { ! alive "$1" "$2"; }

# ---- ports -----------------------------------------------------------------------------------------------------

# Is nobody listening on TCP port $1, on any address?
port_free() {
  local hex
  hex=$(printf '%04X' "$1")
  # 0A is LISTEN. The second file is absent where IPv6 is off.
  ! cat /proc/net/tcp /proc/net/tcp6 2>/dev/null |
    awk -v port="$hex" '$4 == "0A" { n = split($2, a, ":"); if (a[n] == port) found = 1 } END { exit !found }'
}

# Sets the variable named $1 to a port for the thing named $2: the fixed one $3 where given; else the remembered one
# while it is free; else the first free one from $4 on.
choose_port() {
  local -n chosen=$1
  local name=$2 fixed=$3 from=$4 memory=$RUN/$2.port
  if [ -n "$fixed" ]; then
    port_free "$fixed" || die "$name: port $fixed is taken"
    chosen=$fixed
  else
    chosen=$(cat "$memory" 2>/dev/null || true)
    if [ -z "$chosen" ] || ! port_free "$chosen"; then
      chosen=$from
      until port_free "$chosen"; do chosen=$((chosen + 1)); done
    fi
  fi
  printf '%s\n' "$chosen" >"$memory"
}

# The port that was last used for the thing named $1.
remembered_port() { cat "$RUN/$1.port" 2>/dev/null || die "$1 was never started in $STATE"; }

# Starts the log $1 anew and keeps the one before.
rotate_log() {
  [ ! -s "$1" ] || mv -f "$1" "$1.1"
  : >"$1"
}
