"""Starts each role with exactly the settings and secrets that the chart gives its container, and waits until it is ready:
so a secret too few, a setting that the binary refuses or a wrong port is found without a cluster.

    roles.py RENDERED ENV_FILE BINARY    ENV_FILE: what `daybook setup` wrote, in the place of the Secret

What only a cluster has is replaced: ports are free ones of this machine, mounted files a folder made here.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import yaml

PATIENCE_S = 60
# The public key of RFC 8037, appendix A: a document must be there, nobody signs with it.
JWKS = {"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "use": "sig", "kid": "rfc-8037",
                  "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}  # fmt: skip


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def environment(container, settings, secrets, here, files):
    values = dict(settings) if "envFrom" in container else {}
    for entry in container.get("env", []):
        values[entry["name"]] = entry["value"] if "value" in entry else secrets[entry["valueFrom"]["secretKeyRef"]["key"]]
    for name, value in values.items():
        if name.endswith("_LISTEN"):
            values[name] = f"127.0.0.1:{free_port()}"
        elif value.startswith("/etc/daybook/jwks/"):
            values[name] = str(files / pathlib.Path(value).name)
    return values | here | {"PATH": os.environ["PATH"]}


def ready(address):
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return answer.status == 200, answer.read().decode()
    except urllib.error.HTTPError as error:
        return False, error.read().decode()
    except OSError as error:
        return False, str(error)


def await_ready(process, address):
    deadline = time.monotonic() + PATIENCE_S
    while True:
        done, said = ready(address)
        if done or process.poll() is not None or time.monotonic() > deadline:
            return done, said
        time.sleep(0.2)


def starts(container, values, binary, log):
    """Whether a container comes up (or, a Job, through) and stops in order; with what it said."""
    process = subprocess.Popen([binary, *container["args"]], env=values, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        if "DAYBOOK_OPS_LISTEN" not in values:
            return process.wait(PATIENCE_S) == 0, "it has run"
        done, said = await_ready(process, values["DAYBOOK_OPS_LISTEN"])
        process.terminate()
        return process.wait(PATIENCE_S) == 0 and done, said
    finally:
        process.kill()


def main():
    rendered, env_file, binary = sys.argv[1:]
    secrets = dict(line.split("=", 1) for line in pathlib.Path(env_file).read_text().splitlines() if "=" in line)
    secrets = {key: value.strip("'\"") for key, value in secrets.items()}
    things = [thing for thing in yaml.safe_load_all(pathlib.Path(rendered).read_text()) if thing]
    [settings] = [thing["data"] for thing in things if thing["kind"] == "ConfigMap"]
    # Where this place differs from the one in the values file.
    here = {key: secrets[key] for key in ("KAFKA_BROKERS", "DAYBOOK_TOPIC", "DAYBOOK_PARTITIONS")}
    failed = count = 0
    with tempfile.TemporaryDirectory() as folder:
        files = pathlib.Path(folder)
        (files / "jwks.json").write_text(json.dumps(JWKS))
        for thing in things:
            if thing["kind"] not in ("Deployment", "Job"):
                continue
            [container] = thing["spec"]["template"]["spec"]["containers"]
            # A container without the shared settings does not know the brokers either.
            values = environment(container, settings, secrets, here if "envFrom" in container else {}, files)
            with open(files / "log", "w+") as log:
                done, said = starts(container, values, binary, log)
                print(f"{container['name']}: {'ready' if done else 'NOT READY'}: {said}")
                if not done:
                    log.seek(0)
                    print(log.read()[-2000:])
            failed, count = failed + (not done), count + 1
    return 1 if failed or not count else 0


if __name__ == "__main__":
    sys.exit(main())
