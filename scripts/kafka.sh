#!/usr/bin/env bash
# The private Apache Kafka broker of the state folder: one node, KRaft.
#   kafka.sh start    fetches the jars and formats the storage if need be, and starts; nothing to do when it runs
#   kafka.sh stop     controlled shutdown
#   kafka.sh kill9    SIGKILL, as a crash would
#   kafka.sh status   says whether it runs; exit code 3 when not
#   kafka.sh url      the bootstrap address
#   kafka.sh forget   stops it and removes its data; the jars stay
#   kafka.sh sums     writes kafka/SHA256SUMS anew, after a change of kafka/pom.xml
# KAFKA_BROKERS set, and not to this broker: those are used, and nothing here is started, stopped or killed.
# DAYBOOK_HOME: another state folder. DAYBOOK_KAFKA_PORT: a fixed port instead of the first free one from 7492 on.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

SUMS=$ROOT/scripts/kafka/SHA256SUMS

# Resolves the jars of pom.xml into the folder $1, through Maven's own cache.
resolve_jars() {
  command -v mvn >/dev/null || die "there is no mvn here: run scripts/install.sh"
  # From a copy, because Maven may write beside the pom, and the checkout may be read-only.
  rm -rf "$1"
  mkdir -p "$1"
  cp "$ROOT/scripts/kafka/pom.xml" "$1/pom.xml"
  # -U: a download that failed once is tried again, not remembered for a day.
  mvn -B -q -U -f "$1/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$1/jars" >"$LOG/maven.log" 2>&1 || {
    tail -n 15 "$LOG/maven.log" >&2
    die "Maven cannot resolve Kafka's jars, see $LOG/maven.log"
  }
}

# Does the folder $1 hold exactly the jars of SHA256SUMS?
jars_verified() {
  [ "$(find "$1" -name '*.jar' 2>/dev/null | wc -l)" = "$(wc -l <"$SUMS")" ] &&
    (cd "$1" && sha256sum --check --strict --quiet "$SUMS") >"$LOG/kafka-sums.log" 2>&1
}

fetch_jars() {
  local folder=$1 began=$EPOCHREALTIME
  if jars_verified "$folder/libs"; then return; fi
  resolve_jars "$RUN/maven"
  jars_verified "$RUN/maven/jars" ||
    die "Kafka's jars are not those of scripts/kafka/SHA256SUMS; refused. $(head -n 3 "$LOG/kafka-sums.log")"
  rm -rf "$folder/libs"
  mv "$RUN/maven/jars" "$folder/libs"
  chmod -R a+rX "$folder/libs"
  rm -rf "$RUN/maven"
  say "kafka      $(wc -l <"$SUMS") jars fetched and verified ($(seconds_since "$began"))"
}

sums() {
  make_state
  resolve_jars "$RUN/maven"
  (cd "$RUN/maven/jars" && LC_ALL=C sha256sum -- *.jar) >"$SUMS"
  rm -rf "$RUN/maven"
  say "$(wc -l <"$SUMS") jars listed in $SUMS: read the difference before you commit it"
}

# The broker's pid while it is alive, else nothing. Looked up by its command line and not in a pid file: two brokers on
# the same data would damage it.
broker() {
  local folder
  folder=$(readlink -f "$STATE/kafka") || return 0
  pgrep -f "kafka\.Kafka $(sed 's/[^[:alnum:]/_-]/\\&/g' <<<"$folder")/server\.properties\$" || true
}

write_settings() {
  local folder=$1 port=$2 controller=$3
  cat >"$folder/server.properties" <<CONF
# Written by scripts/kafka.sh at every start: changes here are lost.
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=$folder/data
auto.create.topics.enable=false
# One node: no internal topic can have more replicas, and few partitions make a start after a crash quick.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
group.initial.rebalance.delay.ms=0
# After a crash a broker may register again only when its old session has ended (9 s by default).
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
CONF
  # A copy, because the server user may not be able to read the checkout.
  install -m 644 "$ROOT/scripts/kafka/log4j2.xml" "$folder/log4j2.xml"
}

format_storage() {
  local folder=$1 id
  [ ! -e "$folder/data/meta.properties" ] || return 0
  id=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n' | cut -c1-22)
  as_server java -cp "$folder/libs/*" kafka.tools.StorageTool format --standalone -t "$id" \
    -c "$folder/server.properties" >"$LOG/kafka-format.log" 2>&1 </dev/null ||
    die "Kafka's storage cannot be formatted, see $LOG/kafka-format.log"
}

started() { grep -q 'Kafka Server started' "$LOG/kafka.log"; }
started_or_dead() { started || ! kill -0 "$1" 2>/dev/null; }

start() {
  local folder port controller pid began=$EPOCHREALTIME
  lock_state
  if [ -n "$(broker)" ]; then
    say "kafka      runs on 127.0.0.1:$(remembered_port kafka)"
    return
  fi
  command -v java >/dev/null || die "there is no java here: run scripts/install.sh"
  folder=$(server_folder kafka)
  fetch_jars "$folder"
  began=$EPOCHREALTIME
  choose_port port kafka "${DAYBOOK_KAFKA_PORT:-}" 7492
  choose_port controller kafka-controller "" $((port + 100))
  write_settings "$folder" "$port" "$controller"
  format_storage "$folder"
  rotate_log "$LOG/kafka.log"
  "${AS_SERVER[@]}" setsid java -Xmx512m -Dlog4j2.configurationFile="$folder/log4j2.xml" \
    -cp "$folder/libs/*" kafka.Kafka "$folder/server.properties" </dev/null >>"$LOG/kafka.log" 2>&1 9>&- &
  pid=$!
  wait_until 120 started_or_dead "$pid" || die "Kafka is not ready after two minutes, see $LOG/kafka.log"
  started || {
    tail -n 15 "$LOG/kafka.log" >&2
    die "Kafka does not start, see $LOG/kafka.log"
  }
  say "kafka      started on 127.0.0.1:$port ($(seconds_since "$began"))"
}

stop() {
  local pid
  pid=$(broker)
  [ -n "$pid" ] || return 0
  kill -TERM "$pid"
  wait_gone 60 "$pid" kafka.Kafka || die "Kafka (pid $pid) does not stop"
  say "kafka      stopped"
}

kill9() {
  local pid
  pid=$(broker)
  [ -n "$pid" ] || die "Kafka does not run"
  kill -KILL "$pid"
  wait_gone 10 "$pid" kafka.Kafka || die "Kafka (pid $pid) survived SIGKILL"
}

external() {
  [ -n "${KAFKA_BROKERS:-}" ] && [ "$KAFKA_BROKERS" != "127.0.0.1:$(remembered_port kafka 2>/dev/null)" ]
}

url() {
  if external; then printf '%s\n' "$KAFKA_BROKERS"; else printf '127.0.0.1:%s\n' "$(remembered_port kafka)"; fi
}

status() {
  if external; then
    say "kafka      from KAFKA_BROKERS"
  elif [ -n "$(broker)" ]; then
    say "kafka      runs on 127.0.0.1:$(remembered_port kafka) (pid $(broker))"
  else
    say "kafka      does not run"
    return 3
  fi
}

forget() {
  stop
  rm -rf "$STATE/kafka/data"
}

case ${1:-} in
  start | stop | forget)
    if external; then status; else "$1"; fi
    ;;
  kill9)
    if external; then die "the brokers of KAFKA_BROKERS are not ours to kill"; fi
    kill9
    ;;
  status | url | sums) "$1" ;;
  *) die "usage: kafka.sh start|stop|kill9|status|url|sums|forget" ;;
esac
