"""Checks rendered Kubernetes objects: against the schemas of Kubernetes and of the custom resources, and against what
this project asks of its chart (probes, resources, security, least privilege, no literal secret).

    objects.py [--crd FILE]… FILE…     what is wrong, one a line; exit code 1 if anything is

Invariant: an object of a kind that nothing can check is a fault, unless its schema was not given (`--crd`); then it is
told on a line `unchecked KIND`.
"""

import argparse
import json
import pathlib
import re
import sys

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
# The oldest version that Chart.yaml allows, and the newest that the package knows.
KUBERNETES = ("1.27", kubernetes_validate.latest_version())
CUSTOM = {"HTTPRoute", "ServiceMonitor", "PrometheusRule"}

# Which role may hold which secret: the chart's promise, written a second time on purpose.
SECRETS = {
    "command-api": {"DAYBOOK_LOG_WRITER_URL", "DAYBOOK_KEYS_URL", "DAYBOOK_MASTER_KEY", "DAYBOOK_WEBHOOK_SECRETS"},
    "query-api": {"DAYBOOK_VIEWS_READER_URL", "DAYBOOK_LOG_READER_URL"},
    "relay": {"DAYBOOK_LOG_READER_URL", "DAYBOOK_LOG_WRITER_URL"},
    "projector": {"DAYBOOK_VIEWS_OWNER_URL"},
    "sagas": {"DAYBOOK_LOG_WRITER_URL", "DAYBOOK_KEYS_URL", "DAYBOOK_MASTER_KEY", "DAYBOOK_BANK_SECRET"},
    "migrate": {"DAYBOOK_LOG_OWNER_URL", "DAYBOOK_KEYS_URL", "DAYBOOK_VIEWS_OWNER_URL"},
}
OPS_PORTS = {"command-api": 7411, "query-api": 7412, "relay": 7413, "projector": 7414, "sagas": 7415}
SECRET_NAME = re.compile(r"(_KEY|_SECRETS?|_SEED|PASSWORD|_URL)$")
# Settings that end like a secret and are none.
PLAIN = {"DAYBOOK_BANK_URL", "DAYBOOK_TLS_KEY"}
SECRET_TEXT = re.compile(r"postgres(ql)?://|://[^/\s:@]+:[^/\s@]+@|\b[0-9a-f]{64}\b|-----BEGIN|\beyJ[\w-]+\.eyJ")


def known_keys():
    """The settings that the binary reads: every key that the sources of its configuration name before their tests."""
    files = [ROOT / "platform/src/config.rs", *ROOT.glob("platform/src/config/*.rs"), *ROOT.glob("platform/src/*/config.rs")]
    sources = [path.read_text().split("#[cfg(test)]")[0] for path in files if path.is_file()]
    return set(re.findall(r'"(DAYBOOK_[A-Z0-9_]+)"', "".join(sources))) | {"KAFKA_BROKERS", "RUST_LOG"}


def drain_seconds():
    source = (ROOT / "platform/src/http/serve.rs").read_text()
    return int(re.search(r"DRAIN_TIMEOUT: Duration = Duration::from_secs\((\d+)\)", source)[1])


def custom_schemas(definitions):
    """Schemas of custom resources by (apiVersion, kind), from their definitions."""
    found = {}
    for path in definitions:
        spec = yaml.safe_load(path.read_text())["spec"]
        for version in spec["versions"]:
            schema = closed(version["schema"]["openAPIV3Schema"])
            found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = schema
    return found


def closed(schema):
    """The schema with unknown fields refused, as the strict schemas of Kubernetes are."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(value) for key, value in schema.items()}
    known = schema.get("properties")
    if isinstance(known, dict) and known and not schema.get("x-kubernetes-preserve-unknown-fields"):
        if known.keys() >= {"apiVersion", "kind", "metadata"}:
            schema["properties"] = {**known, "metadata": {"type": "object"}}
        schema.setdefault("additionalProperties", False)
    if schema.pop("x-kubernetes-int-or-string", False):
        schema = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    return schema


def schema_faults(thing, custom, unchecked):
    kind = thing["kind"]
    if kind in CUSTOM:
        schema = custom.get((thing["apiVersion"], kind))
        if schema is None:
            if any(known == kind for _, known in custom):
                yield f"no {kind} of version {thing['apiVersion']} is known"
            unchecked.add(kind)
            return
        for error in jsonschema.Draft7Validator(schema).iter_errors(thing):
            yield f"{'.'.join(map(str, error.absolute_path))}: {error.message[:300]}"
        return
    for version in KUBERNETES:
        try:
            kubernetes_validate.validate(thing, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message[:300]}"
        except (kubernetes_validate.SchemaNotFoundError, kubernetes_validate.InvalidSchemaError) as error:
            yield f"Kubernetes {version}: {error}"


def pod_faults(thing, things, keys):
    pod = thing["spec"]["template"]["spec"]
    component = thing["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]
    if pod.get("automountServiceAccountToken") is not False:
        yield "the pod gets a token of Kubernetes"
    if pod.get("enableServiceLinks") is not False:
        yield "variables DAYBOOK_… of Services would reach the binary, which refuses unknown settings"
    security = pod.get("securityContext", {})
    if not security.get("runAsNonRoot") or security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        yield "the pod may run as root, or without seccomp"
    for container in pod["containers"]:
        yield from container_faults(container)
        yield from environment_faults(container, component, things, keys)


def container_faults(container):
    security = container.get("securityContext", {})
    wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "privileged": False}
    for name, value in wanted.items():
        if security.get(name) is not value:
            yield f"{name} is not {value}"
    if security.get("capabilities", {}).get("drop") != ["ALL"]:
        yield "capabilities are not dropped"
    resources = container.get("resources", {})
    if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
        yield "requests for cpu and memory and a limit for memory are needed"
    if container["image"].endswith(":latest") or ":" not in container["image"]:
        yield f"the image {container['image']} is not pinned"


def environment_faults(container, component, things, keys):
    names, secret = set(), set()
    for source in container.get("envFrom", []):
        settings = things.get(("ConfigMap", source["configMapRef"]["name"]))
        if settings is None:
            yield f"there is no ConfigMap {source['configMapRef']['name']}"
            continue
        names |= settings["data"].keys()
    for entry in container.get("env", []):
        names.add(entry["name"])
        if "valueFrom" in entry:
            secret.add(entry["name"])
        elif SECRET_NAME.search(entry["name"]) and entry["name"] not in PLAIN:
            yield f"{entry['name']} is a literal secret"
    for name in sorted(names - keys):
        yield f"{name} is not a setting that the binary knows"
    for name in sorted(secret ^ (SECRETS[component] & secret)):
        yield f"{component} has no business with {name}"
    if component != "migrate" and not SECRETS[component] - {"DAYBOOK_WEBHOOK_SECRETS", "DAYBOOK_BANK_SECRET"} <= secret:
        yield f"{component} lacks one of its secrets: {sorted(SECRETS[component] - secret)}"


def deployment_faults(thing, things):
    template = thing["spec"]["template"]
    component = template["metadata"]["labels"]["app.kubernetes.io/component"]
    [container] = template["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if ports.get("ops") != OPS_PORTS[component]:
        yield f"the ops port of {component} is not {OPS_PORTS[component]}"
    for probe, path in {"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": "/readyz"}.items():
        if container.get(probe, {}).get("httpGet") != {"path": path, "port": "ops"}:
            yield f"{probe} does not ask {path} on the ops port"
    if container["args"] != [component]:
        yield f"the role is {container['args']}, not {component}"
    if not any(note.startswith("checksum/") for note in template["metadata"].get("annotations", {})):
        yield "changed settings would not start the pods anew"
    stopping = container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command", ["sleep", "0"])
    if template["spec"]["terminationGracePeriodSeconds"] < int(stopping[1]) + drain_seconds() + 5:
        yield "a pod is killed before its requests had their time to finish"
    if "http" in ports and stopping[1] == "0":
        yield "a pod stops to listen before it is out of the Services"
    if not template["spec"].get("topologySpreadConstraints"):
        yield "the pods are not spread"
    labels = template["metadata"]["labels"]
    if not thing["spec"]["selector"]["matchLabels"].items() <= labels.items():
        yield "the selector does not select its own pods"
    scaled = ("HorizontalPodAutoscaler", thing["metadata"]["name"]) in things
    if scaled == ("replicas" in thing["spec"]):
        yield "replicas must be said exactly when no autoscaler says them"


def scaler_faults(thing, things):
    name = thing["spec"]["scaleTargetRef"]["name"]
    target = things.get(("Deployment", name))
    if target is None:
        yield f"there is no Deployment {name} to scale"
        return
    low, high = thing["spec"]["minReplicas"], thing["spec"]["maxReplicas"]
    if low > high:
        yield f"at least {low} and at most {high} cannot be"
    if target["metadata"]["labels"]["app.kubernetes.io/component"] == "projector":
        [source] = target["spec"]["template"]["spec"]["containers"][0]["envFrom"]
        partitions = int(things["ConfigMap", source["configMapRef"]["name"]]["data"]["DAYBOOK_PARTITIONS"])
        if high > partitions:
            yield f"{high} projectors cannot share {partitions} partitions"


def selector_faults(thing, things):
    """A Service, budget or network policy that selects no pod does nothing, and says nothing."""
    spec = thing["spec"]
    selector = spec.get("podSelector") or spec.get("selector") or {}
    selector = selector.get("matchLabels", selector)
    pods = [other for (kind, _), other in things.items() if kind in ("Deployment", "Job")]
    if not any(selector.items() <= pod["spec"]["template"]["metadata"]["labels"].items() for pod in pods):
        yield "it selects no pod"


def backend_faults(thing, things):
    names = re.findall(r"'(?:backendRefs|service)': (.*?)\}", repr(thing["spec"]))
    for name in re.findall(r"'name': '([^']+)'", " ".join(names)):
        if name != "http" and ("Service", name) not in things:
            yield f"there is no Service {name}"


def secret_faults(thing):
    text = json.dumps(thing)
    # A checksum looks like a key.
    text = re.sub(r'"checksum/[^"]+": "[0-9a-f]{64}"', "", text)
    if thing["kind"] == "Secret":
        yield "a Secret is rendered: secrets come by reference"
    if found := SECRET_TEXT.search(text):
        yield f"it holds what looks like a secret: {found[0][:12]}…"


def faults_of(thing, things, keys):
    kind = thing["kind"]
    yield from secret_faults(thing)
    if "namespace" in thing["metadata"]:
        yield "the namespace is the release's business"
    if kind in ("Deployment", "Job"):
        yield from pod_faults(thing, things, keys)
    if kind == "Deployment":
        yield from deployment_faults(thing, things)
    if kind == "HorizontalPodAutoscaler":
        yield from scaler_faults(thing, things)
    if kind in ("Service", "PodDisruptionBudget", "NetworkPolicy"):
        yield from selector_faults(thing, things)
    if kind in ("Ingress", "HTTPRoute"):
        yield from backend_faults(thing, things)


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--crd", action="append", default=[], type=pathlib.Path, metavar="FILE")
    arguments.add_argument("files", nargs="+", type=pathlib.Path)
    arguments = arguments.parse_args()
    custom, keys = custom_schemas(arguments.crd), known_keys()
    found, unchecked, count = [], set(), 0
    for path in arguments.files:
        rendered = [thing for thing in yaml.safe_load_all(path.read_text()) if thing]
        things = {(thing["kind"], thing["metadata"]["name"]): thing for thing in rendered}
        if len(things) != len(rendered):
            found.append(f"{path.name}: two objects of one kind and name")
        count += len(rendered)
        for (kind, name), thing in things.items():
            faults = [*schema_faults(thing, custom, unchecked), *faults_of(thing, things, keys)]
            found += [f"{path.name}: {kind} {name}: {fault}" for fault in faults]
    print(*found, *(f"unchecked {kind}" for kind in sorted(unchecked)), sep="\n")
    print(f"{count} objects, {len(found)} faults; Kubernetes {' and '.join(KUBERNETES)}")
    return 1 if found or not count else 0


if __name__ == "__main__":
    sys.exit(main())
