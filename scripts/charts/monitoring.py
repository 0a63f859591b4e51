"""Checks dashboards, alerts and runbooks against what there is.

    monitoring.py     what is wrong, one a line; exit code 1 if anything is

- Every metric in an expression is in the table of platform/src/metrics.rs, with these labels; a value written out is one
  that the table, or the code it points to, names.
- Every metric of the table is recorded somewhere.
- Every alert has a severity, a summary, a section of its own in docs/runbooks/ and a unit test in which it fires; every
  section belongs to an alert.
- Every command of the runbooks is one of the binary's, and every line of a log that they name is in the sources;
  every link leads somewhere.
- Every expression of a dashboard parses (where promtool is there).
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
ALERTS = ROOT / "charts/daybook/alerts/daybook.yaml"
DASHBOARDS = ROOT / "charts/daybook/dashboards"
RUNBOOKS = ROOT / "docs/runbooks"

# Labels that scraping adds, and those of histograms.
ADDED = {"job", "role", "instance", "le", "alertname", "alertstate"}
ROW = re.compile(r'(\w+) "((?:daybook|process)_\w+)" \[([^\]]*)\] "([^"]*)";')


class Metric:
    def __init__(self, kind, labels, text):
        self.kind, self.text = kind, text
        self.labels = set(re.findall(r'"(\w+)"', labels))

    def values(self, label):
        """The values of a label that are told in `label: a, b, c.`; None where they are not, or not all."""
        told = re.search(rf"\b{label}: ([^.;]*)", self.text)
        return None if told is None or "…" in told[1] else set(re.findall(r"\w+", told[1]))


def table():
    source = (ROOT / "platform/src/metrics.rs").read_text()
    rows = {name: Metric(kind, labels, text) for kind, name, labels, text in ROW.findall(source)}
    for name in list(rows):
        if rows[name].kind in ("Seconds", "Sizes"):
            rows |= {name + suffix: rows[name] for suffix in ("_bucket", "_count", "_sum")}
    rows["up"] = rows["ALERTS"] = Metric("Gauge", "", "")
    return rows


def named_in(path):
    return set(re.findall(r'=> "([a-z_]+)"', (ROOT / path).read_text()))


def named_elsewhere():
    """Values that the table leaves to the code."""
    return {
        ("daybook_saga_states", "state"): named_in("domain/src/saga/state.rs"),
        ("daybook_saga_states", "kind"): named_in("domain/src/saga/event.rs"),
        ("daybook_auth_refusals_total", "reason"): named_in("platform/src/auth/refusal.rs"),
        ("daybook_relay_failures_total", "code"): named_in("relay/src/error.rs"),
        ("daybook_http_requests_total", "status"): {"1xx", "2xx", "3xx", "4xx", "5xx"},
    }


def expression_faults(expression, metrics, elsewhere):
    bare = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"\b(?:daybook|process)_\w+\b", bare))
    if not names and not re.search(r"\b(up|ALERTS)\b", bare):
        yield f"no metric of ours in {expression}"
    for name in sorted(names - metrics.keys()):
        yield f"there is no metric {name}"
    known = set().union(*(metrics[name].labels for name in names & metrics.keys())) | ADDED
    for clause in re.findall(r"\b(?:by|on|ignoring|without|group_left) ?\(([^)]*)\)", bare):
        for label in set(re.findall(r"\w+", clause)) - known:
            yield f"no metric in this expression has the label {label}: {expression}"
    for name, selector in re.findall(r"(\w+)\{([^}]*)\}", expression):
        if name not in metrics:
            yield f"there is no metric {name}"
            continue
        for label, operator, value in re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', selector):
            if label not in metrics[name].labels | ADDED:
                yield f"{name} has no label {label}"
                continue
            values = elsewhere.get((name, label)) or metrics[name].values(label)
            if values and "$" not in value and not value.startswith("."):
                for part in set(value.split("|")) - values:
                    yield f"{name}: {label} is never {part} (it is one of {', '.join(sorted(values))})"


def dashboard_expressions():
    for path in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(path.read_text())["panels"]:
            if panel["type"] != "row" and not panel["description"]:
                yield f"{path.name}: {panel['title']}", "", ["it does not say what is right to see"]
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"], []


def alert_rules():
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from group["rules"]


def anchors_of(path):
    """A page's sections, as web views name them from `## Title`."""
    for title in re.findall(r"^## (.+)$", path.read_text(), re.M):
        yield re.sub(r"[^a-z0-9 _-]", "", title.lower()).replace(" ", "-")


def anchors():
    for path in sorted(RUNBOOKS.glob("*.md")):
        yield from (f"docs/runbooks/{path.name}#{anchor}" for anchor in anchors_of(path))


def link_faults():
    for path in [*sorted(RUNBOOKS.glob("*.md")), *(ROOT / "charts").glob("**/README.md")]:
        for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
            file, _, anchor = link.partition("#")
            target = (path.parent / file).resolve() if file else path
            if not link.startswith("http") and not target.exists():
                yield f"{path.name}: there is no {link}"
            elif anchor and anchor not in anchors_of(target):
                yield f"{path.name}: there is no section {link}"


def alert_faults():
    sections, wanted = set(anchors()), set()
    fired = set(re.findall(r'alertname="(\w+)"', (ROOT / "charts/tests/alerts.yaml").read_text()))
    for rule in alert_rules():
        name, notes = rule["alert"], rule["annotations"]
        wanted.add(notes["runbook_url"])
        if rule["labels"].get("severity") not in ("critical", "warning", "info"):
            yield f"{name}: severity is critical, warning or info"
        if not notes.get("summary"):
            yield f"{name}: it has no summary"
        if notes["runbook_url"] not in sections:
            yield f"{name}: there is no section {notes['runbook_url']}"
        if not notes["runbook_url"].endswith("#" + name.lower()):
            yield f"{name}: its runbook is another alert's"
        if name not in fired:
            yield f"{name}: no test in charts/tests/alerts.yaml makes it fire"
    for section in sorted(sections - wanted):
        if "README" not in section:
            yield f"{section} belongs to no alert"


def kebab(name):
    return re.sub(r"(?<!^)([A-Z])", r"-\1", name).lower()


def variants(source, enum):
    """The subcommands that clap makes of an enum."""
    body = re.search(rf"enum {enum} \{{\n(.*?)\n\}}", source, re.S)
    return {kebab(name) for name in re.findall(r"^    ([A-Z]\w*)\b(?=[ ,({])", body[1], re.M)} if body else set()


def command_faults():
    sources = {path.stem: path.read_text() for path in (ROOT / "daybook/src").glob("*.rs")}
    commands = {name: set() for name in variants(sources["main"], "Command")}
    for name in commands:
        source = sources.get(name.replace("-", "_"), "")
        if found := re.search(r"#\[derive\([^)]*Subcommand[^)]*\)\][^{]*?enum (\w+)", source):
            commands[name] = variants(source, found[1])
    for path in sorted(RUNBOOKS.glob("*.md")):
        for command in re.findall(r"\bdaybook((?: --env-file [^\s`]+)?(?: [a-z-]+)+)", "\n".join(code(path.read_text()))):
            words = re.sub(r" --env-file \S+", "", command).split()
            if words[0] not in commands:
                yield f"{path.name}: there is no `daybook {words[0]}`"
            elif commands[words[0]] and (len(words) < 2 or words[1] not in commands[words[0]]):
                yield f"{path.name}: there is no `daybook {' '.join(words[:2])}`"


def recording_faults():
    """A metric that nobody records raises no alert and fills no panel."""
    table_source = (ROOT / "platform/src/metrics.rs").read_text()
    others = " ".join(path.read_text() for path in ROOT.glob("*/src/**/*.rs") if path.name != "metrics.rs")
    for constant, name in re.findall(r'^    ([A-Z_]+) \w+ "(daybook_\w+)"', table_source, re.M):
        words = re.compile(rf'\b{constant}\b|"{name}"')
        if not words.search(others) and len(words.findall(table_source)) < 3:
            yield f"nothing records {name}"


def log_line_faults():
    """What a runbook tells to look for in a log is what a role writes there."""
    sources = " ".join(path.read_text() for path in ROOT.glob("*/src/**/*.rs"))
    sources = re.sub(r"\\\n\s*", "", sources)
    for path in sorted(RUNBOOKS.glob("*.md")):
        for pattern in re.findall(r'''grep (?:-E )?(?:'([^']+)'|"([^"]+)")''', path.read_text()):
            for line in "".join(pattern).split("|"):
                if " " in line and line not in sources:
                    yield f"{path.name}: no role writes: {line}"


def code(text):
    """What stands in backticks, or in a block of code."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.S | re.M)
    return blocks + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.S | re.M))


def syntax_faults(expressions):
    """Prometheus's own parser reads rules only: so each expression becomes one."""
    if not shutil.which("promtool"):
        return
    plain = [re.sub(r"\$\w+", lambda v: "5m" if "interval" in v[0] else ".*", text) for text in expressions]
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}, file)
        file.flush()
        done = subprocess.run(["promtool", "check", "rules", file.name], capture_output=True, text=True, check=False)
    if done.returncode:
        yield done.stderr


def main():
    metrics, elsewhere = table(), named_elsewhere()
    found, expressions = [], []
    for where, expression, faults in dashboard_expressions():
        expressions += [expression] if expression else []
        faults = faults or expression_faults(expression, metrics, elsewhere)
        found += [f"{where}: {fault}" for fault in faults]
    rules = list(alert_rules())
    for rule in rules:
        found += [f"{rule['alert']}: {fault}" for fault in expression_faults(rule["expr"], metrics, elsewhere)]
    used = " ".join(expressions)
    told = {name for name in metrics if name.startswith("daybook_") and not name.endswith(("_bucket", "_count", "_sum"))}
    found += [f"no dashboard shows {name}" for name in sorted(told) if name not in used]
    found += [*alert_faults(), *command_faults(), *recording_faults(), *log_line_faults(), *link_faults(), *syntax_faults(expressions)]
    print(*found, sep="\n")
    print(f"{len(told)} metrics, {len(expressions)} expressions of dashboards, {len(rules)} alerts, {len(found)} faults")
    return 1 if found or not (told and expressions and rules) else 0


if __name__ == "__main__":
    sys.exit(main())
