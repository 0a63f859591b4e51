#!/usr/bin/env bash
# The private PostgreSQL cluster of the state folder.
#   postgres.sh start    makes it if need be, and starts it; nothing to do when it runs
#   postgres.sh stop     fast shutdown
#   postgres.sh kill9    SIGKILL to all of its processes at once, as a crash would
#   postgres.sh status   says whether it runs; exit code 3 when not
#   postgres.sh url      the administrator's connection URL
#   postgres.sh psql …   psql as the administrator
#   postgres.sh forget   stops it and removes its data
# DATABASE_URL set, and not to this cluster's: that server is used, and nothing here is started, stopped or killed.
# DAYBOOK_HOME: another state folder. DAYBOOK_PG_PORT: a fixed port instead of the first free one from 7432 on.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

PASSWORD_FILE=$RUN/pg.password

pg_bin() {
  local data=$1/data dir version
  if [ -r "$data/PG_VERSION" ] || { is_root && [ -e "$data/PG_VERSION" ]; }; then
    version=$(<"$data/PG_VERSION")
  else
    version=$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -V | tail -n 1)
  fi
  dir=/usr/lib/postgresql/$version/bin
  [ -x "$dir/postgres" ] || dir=$(pg_config --bindir 2>/dev/null || true)
  [ -x "$dir/postgres" ] || die "there is no PostgreSQL server here: run scripts/install.sh"
  printf '%s\n' "$dir"
}

# The postmaster's pid while it is alive, else nothing.
postmaster() {
  local folder pid=
  folder=$(readlink -f "$STATE/pg") || return 0
  [ -f "$folder/data/postmaster.pid" ] && pid=$(head -n 1 "$folder/data/postmaster.pid")
  if alive "$pid" "$folder/data"; then printf '%s\n' "$pid"; fi
}

make_cluster() {
  local folder=$1 bin=$2 began=$EPOCHREALTIME
  [ -s "$PASSWORD_FILE" ] || (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' >"$PASSWORD_FILE")
  # A half-made cluster of an interrupted run has no marker: it holds nothing, and is made again.
  rm -rf "$folder/data"
  # initdb opens the file as the server user.
  install -m 600 "$PASSWORD_FILE" "$folder/password"
  if is_root; then chown "$SERVER_USER" "$folder/password"; fi
  as_server "$bin/initdb" -D "$folder/data" --username=daybook_admin --pwfile="$folder/password" \
    --auth=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8 --data-checksums --no-instructions \
    >"$LOG/initdb.log" 2>&1 || die "initdb failed, see $LOG/initdb.log"
  rm -f "$folder/password"
  printf "include 'daybook.conf'\n" >>"$folder/data/postgresql.conf"
  : >"$folder/made"
  say "postgres   cluster made in $folder ($(seconds_since "$began"))"
}

# A socket's path is at most 107 bytes long, so that of a deep checkout lies in /tmp.
socket_folder() {
  local dir=$1/socket
  if [ ${#dir} -gt 88 ]; then dir=/tmp/daybook-$(short_hash "$1"); fi
  if [ ! -d "$dir" ]; then as_server mkdir -m 700 "$dir"; fi
  [ "$(stat -c %U "$dir")" = "$(as_server id -un)" ] || die "$dir belongs to somebody else"
  printf '%s\n' "$dir"
}

write_settings() {
  local folder=$1 port=$2
  cat >"$folder/data/daybook.conf" <<CONF
# Written by scripts/postgres.sh at every start: changes here are lost.
listen_addresses = '127.0.0.1'
port = $port
unix_socket_directories = '$3'
shared_buffers = 512MB
max_connections = 200
max_wal_size = 4GB
min_wal_size = 1GB
jit = off
fsync = on
synchronous_commit = on
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%u@%d '
CONF
}

start() {
  local folder bin port socket began=$EPOCHREALTIME
  lock_state
  if [ -n "$(postmaster)" ]; then
    say "postgres   runs on 127.0.0.1:$(remembered_port pg)"
    return
  fi
  folder=$(server_folder pg)
  bin=$(pg_bin "$folder")
  if [ ! -e "$folder/made" ]; then make_cluster "$folder" "$bin"; began=$EPOCHREALTIME; fi
  choose_port port pg "${DAYBOOK_PG_PORT:-}" 7432
  socket=$(socket_folder "$folder")
  write_settings "$folder" "$port" "$socket"
  # Left by a crash or a restart of the machine. Their pid may by now be another process of the same user, or a zombie,
  # which PostgreSQL would take for a running server. It still refuses to start while an old backend is alive.
  rm -f "$folder/data/postmaster.pid" "$socket"/.s.PGSQL.*
  rotate_log "$LOG/postgres.log"
  as_server "$bin/pg_ctl" start -D "$folder/data" -w -t 60 -s >>"$LOG/postgres.log" 2>&1 </dev/null 9>&- || {
    tail -n 15 "$LOG/postgres.log" >&2
    die "PostgreSQL does not start, see $LOG/postgres.log"
  }
  say "postgres   started on 127.0.0.1:$port ($(seconds_since "$began"))"
}

stop() {
  local pid folder
  pid=$(postmaster)
  [ -n "$pid" ] || return 0
  folder=$(readlink -f "$STATE/pg")
  # SIGINT is the fast shutdown: sessions are ended, a checkpoint is written.
  kill -INT "$pid"
  wait_gone 60 "$pid" "$folder/data" || die "PostgreSQL (pid $pid) does not stop"
  say "postgres   stopped"
}

kill9() {
  local pid folder family
  pid=$(postmaster)
  [ -n "$pid" ] || die "PostgreSQL does not run"
  folder=$(readlink -f "$STATE/pg")
  family=$(pgrep -P "$pid" || true)
  # shellcheck disable=SC2086 # a list of pids
  kill -KILL "$pid" $family 2>/dev/null || true
  wait_gone 10 "$pid" "$folder/data" || die "PostgreSQL (pid $pid) survived SIGKILL"
  for pid in $family; do wait_until 10 no_process "$pid" || die "backend $pid survived SIGKILL"; done
}
no_process() { gone "$1" postgres; }

own_url() {
  [ -s "$PASSWORD_FILE" ] || die "the private cluster was never made: run scripts/postgres.sh start"
  printf 'postgres://daybook_admin:%s@127.0.0.1:%s/postgres\n' "$(<"$PASSWORD_FILE")" "$(remembered_port pg)"
}

external() { [ -n "${DATABASE_URL:-}" ] && [ "$DATABASE_URL" != "$(own_url 2>/dev/null)" ]; }

url() {
  if external; then printf '%s\n' "$DATABASE_URL"; else own_url; fi
}

status() {
  if external; then
    say "postgres   from DATABASE_URL"
  elif [ -n "$(postmaster)" ]; then
    say "postgres   runs on 127.0.0.1:$(remembered_port pg) (pid $(postmaster))"
  else
    say "postgres   does not run"
    return 3
  fi
}

forget() {
  stop
  rm -rf "/tmp/daybook-$(short_hash "$(readlink -f "$STATE/pg")")"
  forget_folder pg
  rm -f "$PASSWORD_FILE"
}

case ${1:-} in
  start | stop | forget)
    if external; then status; else "$1"; fi
    ;;
  kill9)
    if external; then die "the server of DATABASE_URL is not ours to kill"; fi
    kill9
    ;;
  status | url) "$1" ;;
  psql) exec psql -X "$(url)" "${@:2}" ;;
  *) die "usage: postgres.sh start|stop|kill9|status|url|psql|forget" ;;
esac
