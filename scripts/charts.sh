#!/usr/bin/env bash
# Checks the Helm chart, its alert rules and dashboards, offline but for the tools themselves.
#   charts.sh [FILE]    every check; FILE gets a line PASS or NOT RUN for each. The first failure ends it.
#   charts.sh roles FILE ENV_FILE BINARY   starts each role with exactly the settings and secrets that the chart gives it
#   charts.sh install   brings the tools: helm (built where Go is), promtool (Debian's package prometheus), and the
#                       Python packages in a folder of their own
# helm and promtool are looked for on the PATH and in STATE/charts/bin. What is missing is told as NOT RUN; the Python
# packages, which take 20 s, are brought by the first run.
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

HELM_VERSION=v3.22.0
# Definitions of the custom resources, from Go modules: nothing else is taken from these.
GATEWAY_API=sigs.k8s.io/gateway-api@v1.2.1
PROMETHEUS_OPERATOR=github.com/prometheus-operator/prometheus-operator@v0.85.0
KUBERNETES_VALIDATE_VERSION=1.37.0

CHART=$ROOT/charts/daybook
TOOLS=$STATE/charts
PYTHON=$TOOLS/venv/bin/python
RENDERED=$TOOLS/rendered
PATH=$PATH:$TOOLS/bin
results=/dev/null
export HELM_CACHE_HOME=$TOOLS/helm HELM_CONFIG_HOME=$TOOLS/helm HELM_DATA_HOME=$TOOLS/helm

has() { command -v "$1" >/dev/null 2>&1; }

not_run() {
  printf 'NOT RUN  %s (%s)\n' "$1" "$2" >>"$results"
  say "NOT RUN: $1 ($2)"
}

# check NAME COMMAND…: shows the output only when it fails.
check() {
  local name=$1 since=$EPOCHREALTIME log=$LOG/charts.log
  shift
  if ! "$@" >"$log" 2>&1 </dev/null; then
    cat "$log" >&2
    die "$name failed"
  fi
  printf 'PASS     %s\n' "$name" >>"$results"
  say "PASS       $name ($(seconds_since "$since"))"
}

# ---- tools -----------------------------------------------------------------------------------------------------

python_packages() {
  if "$PYTHON" -c 'import kubernetes_validate, yaml' 2>/dev/null; then return; fi
  has python3 || return 1
  say "install    kubernetes-validate (with the schemas of Kubernetes) into $TOOLS/venv"
  rm -rf "$TOOLS/venv"
  {
    python3 -m venv "$TOOLS/venv" && "$TOOLS/venv/bin/pip" install --quiet --disable-pip-version-check \
      "kubernetes-validate==$KUBERNETES_VALIDATE_VERSION" pyyaml
  } >"$LOG/charts-python.log" 2>&1
}

build_helm() {
  say "install    helm $HELM_VERSION (built once, some minutes; log in $LOG/charts-helm.log)"
  (cd / && GOBIN=$TOOLS/bin go install "helm.sh/helm/v3/cmd/helm@$HELM_VERSION") >"$LOG/charts-helm.log" 2>&1
}

unpack_promtool() (
  cd "$TOOLS"
  say "install    promtool (unpacked from Debian's package prometheus, which is not installed)"
  {
    apt-get download -q prometheus && dpkg-deb -x prometheus_*.deb deb && install deb/usr/bin/promtool bin/promtool
    rm -rf deb prometheus_*.deb
  } >"$LOG/charts-promtool.log" 2>&1
  [ -x bin/promtool ]
)

# Brings what can be brought; what is still missing afterwards, the checks tell.
install_tools() {
  mkdir -p "$TOOLS/bin"
  if ! has helm && has go; then build_helm || say "install    helm could not be built"; fi
  if ! has promtool && has apt-get; then unpack_promtool || say "install    promtool could not be fetched"; fi
  if is_root && has apt-get && ! python3 -c 'import ensurepip' 2>/dev/null; then
    apt-get install -q -y --no-install-recommends python3-venv >"$LOG/charts-python.log" 2>&1 || true
  fi
  python_packages || say "install    the Python packages could not be installed"
}

# Prints the folder of a Go module's files, fetched if need be.
module() { go mod download -json "$1" 2>/dev/null | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p'; }

# ---- the chart -------------------------------------------------------------------------------------------------

render() { helm template example "$CHART" --namespace example --kube-version 1.31.0 "$@"; }

lint() {
  local values
  for values in "$CHART"/ci/*.yaml; do helm lint --strict --quiet "$CHART" --values "$values" || return 1; done
}

render_all() {
  local values
  rm -rf "$RENDERED"
  mkdir -p "$RENDERED"
  for values in "$CHART"/ci/*.yaml; do
    render --values "$values" >"$RENDERED/$(basename "$values")" || return 1
  done
}

# What must not be accepted, each with a part of what it must be told.
refuses() {
  local said=$1
  shift
  if render --values "$CHART/ci/minimal.yaml" "$@" >"$LOG/charts-refused.log" 2>&1; then
    say "accepted, though it must be refused: $*"
    return 1
  fi
  grep -qF -- "$said" "$LOG/charts-refused.log" || {
    cat "$LOG/charts-refused.log"
    say "refused, but without a word of: $said"
    return 1
  }
}

refusals() {
  refuses "at most 12 (config.partitions) can work" --set projector.autoscaling.maxReplicas=13 &&
    refuses "secrets.existingSecret is needed" --set secrets.existingSecret= &&
    refuses "config.brokers is needed" --set config.brokers= &&
    refuses "auth.issuer is needed" --set auth.issuer= &&
    refuses "auth.jwks or auth.jwksConfigMap is needed" --set auth.jwks= &&
    refuses "would hold a secret" --set config.extra.DAYBOOK_MASTER_KEY=00 &&
    refuses "/commandApi/extraEnv/0" --set 'commandApi.extraEnv[0].name=DAYBOOK_KEYS_URL,commandApi.extraEnv[0].value=x' &&
    refuses "an Ingress cannot tell POST from GET" --set ingress.enabled=true,ingress.commandHost=a.example &&
    refuses "httpRoute.parentRefs is needed" --set httpRoute.enabled=true &&
    refuses "belong together" --set payments.incoming.bankAccount=00000000-0000-4000-8000-000000000001 &&
    refuses "terminationGracePeriodSeconds" --set terminationGracePeriodSeconds=20 &&
    refuses "replica" --set relay.replica=3
}

# The examples of the README, as they are written there.
readme_examples() {
  local readme=$CHART/README.md example arguments count=0
  example=$(sed -n '/^helm install daybook/,/^```/p' "$readme" | grep -v '^```' | tr -d '\\\n' | sed 's/^helm install daybook [^ ]*//')
  # The backslash before the comma is Helm's, not the line's.
  example=${example//9092,/9092\\,}
  set -f
  eval "arguments=($example)"
  helm template daybook "$CHART" --kube-version 1.31.0 "${arguments[@]}" || return 1
  # shellcheck disable=SC2016 # the backticks are Markdown's
  while IFS= read -r example; do
    eval "arguments=($example)"
    render --values "$CHART/ci/minimal.yaml" "${arguments[@]}" || return 1
    count=$((count + 1))
  done < <(sed -n 's/^| .*| `\(--set[^`]*\)`.*/\1/p' "$readme")
  set +f
  [ "$count" -gt 5 ]
}

check_roles() {
  if ! has helm || ! python_packages; then
    not_run "helm chart: each role is ready with what the chart gives it" "no helm, or no Python packages"
    return
  fi
  render --values "$CHART/ci/minimal.yaml" --set auth.jwks=,auth.jwksConfigMap=keys >"$TOOLS/roles.yaml" ||
    die "the chart does not render"
  check "helm chart: each role is ready with what the chart gives it" \
    "$PYTHON" "$ROOT/scripts/charts/roles.py" "$TOOLS/roles.yaml" "$1" "$2"
}

check_chart() {
  local crds=() gateway="" operator=""
  if ! has helm; then
    not_run "helm chart" "no helm; \`scripts/charts.sh install\` builds it where Go is"
    return
  fi
  check "helm chart: lint" lint
  check "helm chart: renders with every values file" render_all
  check "helm chart: refuses values that cannot work" refusals
  check "helm chart: the examples of its README" readme_examples
  if ! python_packages; then
    not_run "helm chart: objects" "no Python packages, see $LOG/charts-python.log"
    return
  fi
  if has go; then
    gateway=$(module "$GATEWAY_API" || true)
    operator=$(module "$PROMETHEUS_OPERATOR" || true)
  fi
  if [ -n "$gateway" ] && [ -n "$operator" ]; then
    operator+=/example/prometheus-operator-crd/monitoring.coreos.com
    crds=(--crd "$gateway/config/crd/standard/gateway.networking.k8s.io_httproutes.yaml"
      --crd "${operator}_servicemonitors.yaml" --crd "${operator}_prometheusrules.yaml")
  else
    not_run "helm chart: schemas of HTTPRoute, ServiceMonitor and PrometheusRule" "no Go to fetch them with"
  fi
  check "helm chart: objects against Kubernetes' schemas and this project's rules" \
    "$PYTHON" "$ROOT/scripts/charts/objects.py" "${crds[@]}" "$RENDERED"/*.yaml
  check "helm chart: these checks find the mistakes that they are for" \
    "$PYTHON" "$ROOT/scripts/charts/objects_test.py" "$RENDERED/full.yaml"
}

# ---- dashboards, alerts, runbooks ------------------------------------------------------------------------------

check_monitoring() {
  if python_packages; then
    check "dashboards: as their source says" "$PYTHON" "$ROOT/scripts/charts/dashboards.py" --check
    check "dashboards, alerts, runbooks: metrics, labels and anchors exist" "$PYTHON" "$ROOT/scripts/charts/monitoring.py"
  else
    not_run "dashboards, alerts, runbooks" "no Python packages, see $LOG/charts-python.log"
  fi
  if has promtool; then
    check "alerts: promtool check rules" promtool check rules "$CHART/alerts/daybook.yaml"
    check "alerts: promtool test rules" promtool test rules "$ROOT"/charts/tests/*.yaml
  else
    not_run "alerts: promtool" "no promtool; \`scripts/charts.sh install\` brings it"
  fi
}

make_state
mkdir -p "$TOOLS"
case ${1:-} in
  install) install_tools ;;
  roles)
    results=$2
    : >"$results"
    check_roles "$3" "$4"
    ;;
  *)
    results=${1:-/dev/null}
    : >"$results"
    check_chart
    check_monitoring
    ;;
esac
