#!/usr/bin/env bash
# The whole way with a bank's data: servers, roles as separate processes, the data set loaded over HTTP, its loans paid
# out to another bank and paid back by made-up payments. Leaves all running. DATA names the data set: ../shared/berka where it is there, else a sample of the same shape.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

began=$EPOCHREALTIME
"$ROOT/scripts/up.sh"
"$ROOT/scripts/roles.sh" start
set -a
eval "$("$ROOT/scripts/roles.sh" addresses)"
set +a

data=${DATA:-}
if [ -z "$data" ] && [ -f "$ROOT/../shared/berka/trans.asc" ]; then data=$ROOT/../shared/berka; fi
if [ -z "$data" ]; then
  data=$STATE/sample
  [ -f "$data/trans.asc" ] || "$BINARY" sample berka "$data"
fi
[ -f "$data/trans.asc" ] || die "there is no data set in $data (DATA): no file trans.asc"

say "load       $(realpath "$data")"
"$BINARY" --env-file "$STATE/env" load berka "$data" --report-dir "$STATE/reports"

# The data set's transactions end years before its loans do: what comes after is made up, and says so.
say ""
"$BINARY" sample payments "$data" --out "$STATE/payments.csv"
say "load       $STATE/payments.csv, that of every twentieth loan through the bank simulator"
"$BINARY" --env-file "$STATE/env" load payments "$STATE/payments.csv" --through-bank "$DAYBOOK_BANK_URL"
say ""
"$BINARY" --env-file "$STATE/env" audit reconcile
"$BINARY" --env-file "$STATE/env" saga list

token=$("$BINARY" --env-file "$STATE/env" token --subject demo --role officer --role admin --role auditor)
# A loan that is late, to show.
late=$(curl -sf -H "Authorization: Bearer $token" \
  "http://$DAYBOOK_QUERY_API_LISTEN/v1/loans/arrears?as_of=1998-12-31&min_days=31&limit=1" |
  sed -n 's/.*"loan_id":"\([^"]*\)".*/\1/p')

cat <<TEXT

Everything runs ($(seconds_since "$began")). It stays until \`make down\`; \`make clean\` forgets it.
  commands  http://$DAYBOOK_COMMAND_API_LISTEN  (/docs)
  queries   http://$DAYBOOK_QUERY_API_LISTEN  (/docs)
  bank      $DAYBOOK_BANK_URL  (docs/bank-simulator.md)
  postgres  $("$ROOT/scripts/postgres.sh" url | sed 's/:[^:@]*@/:…@/')  (scripts/postgres.sh psql)
  kafka     $("$ROOT/scripts/kafka.sh" url)
  state     $STATE  (log/ has one file a process, env the connection strings)

To try, with a token for eight hours (\`daybook token --help\` for others):
  TOKEN=$token
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/accounts?limit=2' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/trial-balance' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/loans/portfolio-at-risk?as_of=1998-12-31' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/loans/arrears?as_of=1998-12-31&min_days=31&limit=2' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/loans/$late/schedule?as_of=1998-12-31' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" 'http://$DAYBOOK_QUERY_API_LISTEN/v1/sagas?loan_id=$late&limit=2' | jq
  curl -s -H "Authorization: Bearer \$TOKEN" http://$DAYBOOK_COMMAND_API_LISTEN/v1/members -H 'Idempotency-Key: my-first' -H 'content-type: application/json' -d '{"number":"M-1","kind":"person","name":"Ada Obi"}' | jq
TEXT
