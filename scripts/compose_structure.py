"""Checks what can be checked of a compose file without Docker: that it parses, that each service has an image, and that
the services, volumes and files it refers to exist. `docker compose config` checks more, where it is at hand."""

import pathlib
import sys

import yaml

CONDITIONS = {"service_started", "service_healthy", "service_completed_successfully"}


def faults(path):
    compose = yaml.safe_load(path.read_text())
    services = compose["services"]
    for name, service in services.items():
        if not {"image", "build"} & service.keys():
            yield f"{name}: neither image nor build"
        build = service.get("build")
        if build and not (path.parent / build["context"] / build["dockerfile"]).is_file():
            yield f"{name}: no file {build['dockerfile']}"
        for other, wait in service.get("depends_on", {}).items():
            if other not in services:
                yield f"{name}: depends on {other}, which is not a service"
            elif wait["condition"] not in CONDITIONS:
                yield f"{name}: unknown condition {wait['condition']}"
            elif wait["condition"] == "service_healthy" and "healthcheck" not in services[other]:
                yield f"{name}: waits for the health of {other}, which has no health check"
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if not source.startswith((".", "/", "$")) and source not in compose.get("volumes", {}):
                yield f"{name}: volume {source} is not declared"
        for port in service.get("ports", []):
            if not port.startswith("127.0.0.1:"):
                yield f"{name}: port {port} is not bound to this machine"
        for key, value in (service.get("environment") or {}).items():
            if not isinstance(value, str):
                yield f"{name}: {key} is not text (quote it)"


def main():
    found = list(faults(pathlib.Path(sys.argv[1])))
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
