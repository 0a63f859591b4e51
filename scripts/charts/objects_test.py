"""Shows that objects.py finds what it is there to find: each mistake is made in a rendered chart, and must be told.

    objects_test.py RENDERED    exit code 1 if a mistake goes unnoticed
"""

import copy
import pathlib
import sys

import objects
import yaml


def of(things, kind, component=None):
    return next(
        thing
        for thing in things
        if thing["kind"] == kind
        and component in (None, thing["metadata"]["labels"].get("app.kubernetes.io/component"))
    )


def pod(things, component="relay", kind="Deployment"):
    return of(things, kind, component)["spec"]["template"]["spec"]


def container(things, component="relay", kind="Deployment"):
    return pod(things, component, kind)["containers"][0]


def literal_secret(things):
    entry = next(e for e in container(things)["env"] if e["name"] == "DAYBOOK_LOG_WRITER_URL")
    del entry["valueFrom"]
    entry["value"] = "postgres://u:p@h/d"


MISTAKES = {
    "livenessProbe does not ask": lambda t: container(t).pop("livenessProbe"),
    "requests for cpu": lambda t: container(t)["resources"].pop("requests"),
    "limit for memory": lambda t: container(t, "migrate", "Job")["resources"].pop("limits"),
    "readOnlyRootFilesystem is not True": lambda t: container(t)["securityContext"].pop("readOnlyRootFilesystem"),
    "capabilities": lambda t: container(t)["securityContext"].pop("capabilities"),
    "may run as root": lambda t: pod(t)["securityContext"].pop("runAsNonRoot"),
    "token of Kubernetes": lambda t: pod(t).pop("automountServiceAccountToken"),
    "variables DAYBOOK_": lambda t: pod(t, "migrate", "Job").pop("enableServiceLinks"),
    "not pinned": lambda t: container(t).update(image="daybook"),
    "is a literal secret": literal_secret,
    "looks like a secret": literal_secret,
    "no business with DAYBOOK_MASTER_KEY": lambda t: container(t)["env"].append(
        {"name": "DAYBOOK_MASTER_KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}
    ),
    "lacks one of its secrets": lambda t: container(t)["env"].pop(),
    "DAYBOOK_TOPICS is not a setting": lambda t: of(t, "ConfigMap")["data"].update(DAYBOOK_TOPICS="x"),
    "its requests had their time": lambda t: pod(t).update(terminationGracePeriodSeconds=16),
    "stops to listen": lambda t: container(t, "query-api").pop("lifecycle"),
    "are not spread": lambda t: pod(t).pop("topologySpreadConstraints"),
    "cannot share": lambda t: of(t, "ConfigMap")["data"].update(DAYBOOK_PARTITIONS="2"),
    "no autoscaler says": lambda t: of(t, "Deployment", "relay")["spec"].pop("replicas"),
    "it selects no pod": lambda t: of(t, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update(x="y"),
    "there is no Service": lambda t: t.remove(of(t, "Service", "query-api")),
    "a Secret is rendered": lambda t: of(t, "ServiceAccount").update(kind="Secret"),
    "would not start the pods anew": lambda t: of(t, "Deployment", "relay")["spec"]["template"]["metadata"].pop(
        "annotations"
    ),
    "Kubernetes 1.27: spec": lambda t: of(t, "Deployment", "relay")["spec"].update(replicaCount=2),
}


def told(rendered, keys):
    things = {(thing["kind"], thing["metadata"]["name"]): thing for thing in rendered}
    for thing in rendered:
        yield from objects.faults_of(thing, things, keys)
    for thing in rendered:
        yield from objects.schema_faults(thing, {}, set())


def main():
    rendered = [thing for thing in yaml.safe_load_all(pathlib.Path(sys.argv[1]).read_text()) if thing]
    unnoticed, keys = [], objects.known_keys()
    for fault, mistake in MISTAKES.items():
        changed = copy.deepcopy(rendered)
        mistake(changed)
        if not any(fault in line for line in told(changed, keys)):
            unnoticed.append(fault)
    print(*unnoticed, sep="\n")
    print(f"{len(MISTAKES)} mistakes, {len(unnoticed)} unnoticed")
    return 1 if unnoticed else 0


if __name__ == "__main__":
    sys.exit(main())
