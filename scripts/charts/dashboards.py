"""Grafana's dashboards as code: writes charts/daybook/dashboards/*.json.

    dashboards.py           writes them
    dashboards.py --check   exit code 1 where a committed one is not what this file says

Invariants: one dashboard a question (how is the service, writes, reads, sagas, entry control); every panel has a unit and
says what is right to see; rates over $__rate_interval; nothing is summed over runners that all tell the same thing.
"""

import json
import pathlib
import sys

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "charts/daybook/dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
ALL_REQUESTS = 'daybook_http_requests_total{job="daybook", role=~"$role"}'
WIDTH = 24


def series(*queries, title, unit, says, kind="timeseries", width=8, height=7, stack=False, thresholds=()):
    """A panel of queries, each (expression, legend). `says`: what is right to see, and what is not."""
    targets = [
        {"refId": chr(ord("A") + i), "datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto"}
        | ({"instant": True, "range": False} if kind in ("stat", "table") else {})
        | ({"format": "table"} if kind == "table" else {})
        for i, (expression, legend) in enumerate(queries)
    ]
    # A counter that has not counted yet is not there.
    defaults = {"unit": unit, "min": 0, "noValue": "0"}
    if kind == "timeseries":
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 30 if stack else 8,
            "showPoints": "never",
            "stacking": {"mode": "normal" if stack else "none", "group": "A"},
        }
        defaults["color"] = {"mode": "palette-classic"}
    if kind == "stat":
        # Without thresholds Grafana takes its own, in which 80 of anything is red.
        thresholds = thresholds or ((None, "blue"),)
        defaults["color"] = {"mode": "thresholds"}
    if thresholds:
        steps = [{"color": color, "value": value} for value, color in thresholds]
        defaults["thresholds"] = {"mode": "absolute", "steps": steps}
        if kind == "timeseries":
            defaults["custom"]["thresholdsStyle"] = {"mode": "line"}
    options = {
        "timeseries": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "stat": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "background", "graphMode": "none", "textMode": "auto"},
        "table": {"showHeader": True},
    }[kind]
    return {
        "type": kind,
        "title": title,
        "description": says,
        "datasource": SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "gridPos": {"w": width, "h": height},
    }


def row(title):
    return {"type": "row", "title": title, "collapsed": False, "panels": [], "gridPos": {"w": WIDTH, "h": 1}}


def alerts(pattern):
    panel = series(
        (f'ALERTS{{alertname=~"{pattern}", alertstate="firing"}}', ""),
        title="Alerts that fire",
        unit="none",
        says="Each names its runbook in docs/runbooks/. Empty is right.",
        kind="table",
        width=WIDTH,
        height=5,
    )
    hidden = {name: True for name in ("Time", "Value", "__name__", "alertstate", "job")}
    panel["transformations"] = [{"id": "organize", "options": {"excludeByName": hidden}}]
    return panel


def quantiles(metric, selector="", by=""):
    """The 50th, 95th and 99th percentile of a histogram."""
    selector = 'job="daybook"' + (f", {selector}" if selector else "")
    group, name = (f"le, {by}", f"{{{{{by}}}}} ") if by else ("le", "")
    return [
        (f"histogram_quantile({q}, sum by ({group}) (rate({metric}_bucket{{{selector}}}[$__rate_interval])))", f"{name}p{int(q * 100)}")
        for q in (0.5, 0.95, 0.99)
    ]


def rate(metric, by, selector="", legend=None):
    selector = 'job="daybook"' + (f", {selector}" if selector else "")
    names = [name.strip() for name in by.split(",")]
    return (f"sum by ({by}) (rate({metric}{{{selector}}}[$__rate_interval]))", legend or " ".join(f"{{{{{n}}}}}" for n in names))


def gauge(metric, by, aggregate="max", selector="", legend=None):
    selector = 'job="daybook"' + (f", {selector}" if selector else "")
    names = [name.strip() for name in by.split(",")]
    return (f"{aggregate} by ({by}) ({metric}{{{selector}}})", legend or " ".join(f"{{{{{n}}}}}" for n in names))


def variable(name, label, query):
    return {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }


ROLE = variable("role", "Role", 'label_values(up{job="daybook"}, role)')
PROJECTION = variable("projection", "Projection", "label_values(daybook_projector_lag_seconds, projection)")
GOOD_OR_BAD = ((None, "red"), (1, "green"))
BAD_IF_ANY = ((None, "green"), (1, "red"))


def overview():
    return [
        alerts("Daybook.*"),
        row("What runs"),
        series(gauge("up", "role", "sum"), title="Processes up", unit="none", kind="stat", thresholds=GOOD_OR_BAD, height=5,
               says="By role. None of a role is red."),
        series(gauge("daybook_build_info", "version, role", "count"), title="Versions", unit="none", kind="table", height=5,
               says="One version, but during a roll-out."),
        series(
            ('max(daybook_log_head_position{job="daybook"})', "log"),
            ('max(daybook_relay_position{job="daybook"})', "Kafka"),
            ('min(max by (projection, partition) (daybook_projector_applied_position{job="daybook"}))', "views"),
            title="The way of an event: last position", unit="none", kind="stat", height=5,
            says="The last position written, published, and visible in the read models. Three equal numbers are right.",
        ),
        row("Golden signals"),
        series((f"sum by (role, status) (rate({ALL_REQUESTS}[$__rate_interval]))", "{{role}} {{status}}"),
               title="Traffic", unit="reqps", stack=True, says="Requests a second by role and class of status."),
        series(
            (
                '(sum by (role) (rate(daybook_http_requests_total{job="daybook", role=~"$role", status="5xx"}[$__rate_interval]))'
                f" or 0 * sum by (role) (rate({ALL_REQUESTS}[$__rate_interval])))"
                f" / sum by (role) (rate({ALL_REQUESTS}[$__rate_interval]))",
                "{{role}}",
            ),
            title="Errors", unit="percentunit", thresholds=((None, "green"), (0.0144, "red")),
            says="The share of 5xx. The line is where DaybookErrorsFast fires.",
        ),
        series(*quantiles("daybook_http_request_duration_seconds", 'role=~"$role"', "role"), title="Latency", unit="s",
               says="Head of the request to head of the reply. Reads that wait for a position are in it."),
        series(gauge("daybook_http_requests_in_flight", "role, instance", "sum"), title="Saturation: requests at work", unit="none",
               says="Of 10,000 at most a process."),
        series(
            (
                'max by (role, pool) (daybook_pool_connections{job="daybook", state="used"}'
                ' / ignoring (state) daybook_pool_connections_max{job="daybook"})',
                "{{role}} {{pool}}",
            ),
            title="Saturation: pools", unit="percentunit", says="Connections used of those a pool may open. 100 % for long: requests wait.",
        ),
        series(rate("daybook_http_requests_shed_total", "role, reason"), title="Given up", unit="reqps",
               says="Requests that a process gave up: overloaded, timeout, panic. None is right."),
        row("Processes"),
        series(rate("process_cpu_seconds_total", "role, instance", 'role=~"$role"'), title="Processor", unit="none", says="Cores used."),
        series(gauge("process_resident_memory_bytes", "role, instance", selector='role=~"$role"'), title="Memory", unit="bytes",
               says="Resident. Growth without end is a defect."),
        series(
            ('max by (role, instance) (process_open_fds{job="daybook", role=~"$role"} / process_max_fds{job="daybook", role=~"$role"})',
             "{{role}} {{instance}}"),
            title="File descriptors", unit="percentunit", says="Of those allowed.",
        ),
    ]


def write_path():
    return [
        alerts("Daybook(Log|Writer|Commands|Commits|Unknown|Batch|Lost|Writes).*"),
        series(gauge("daybook_writer_connected", "instance"), title="Writers connected", unit="none", kind="stat",
               thresholds=GOOD_OR_BAD, height=4, says="1 while a writer has its connection to the log."),
        series(('sum(rate(daybook_log_events_total{job="daybook"}[$__rate_interval]))', "events"), title="Events a second", unit="ops",
               kind="stat", height=4, says="Appended, by all writers."),
        series(('max(daybook_log_head_position{job="daybook"})', "head"), title="Head of the log", unit="none", kind="stat", height=4,
               says="Position of the last event."),
        row("Commands"),
        series(rate("daybook_commands_total", "outcome"), title="By outcome", unit="ops", stack=True,
               says="overloaded and unavailable are refusals of ours; rejected is a rule's."),
        series(rate("daybook_commands_total", "command"), title="By command", unit="ops", stack=True, says="What is asked."),
        series(rate("daybook_command_rejections_total", "code"), title="Rejections by rule", unit="ops",
               says="A new code in front of all others usually is a client that changed."),
        row("Batches"),
        series(*quantiles("daybook_writer_batch_commands"), *[(q, f"events {name}") for q, name in quantiles("daybook_writer_batch_events")[:1]],
               title="Commands of a commit", unit="none", says="Grows with the load: all that wait go into one commit."),
        series(*quantiles("daybook_writer_decide_duration_seconds"), title="Deciding", unit="s",
               says="Keys looked up, streams loaded, rules applied. High with short commits: many streams that are not in memory."),
        series(*quantiles("daybook_writer_commit_duration_seconds"), title="Committing", unit="s",
               thresholds=((None, "green"), (0.25, "red")),
               says="One statement with its flush to disk; 1 to 10 ms on a good disk. The line is DaybookCommitsSlow."),
        series(gauge("daybook_writer_queue_depth", "instance"), gauge("daybook_writer_queue_capacity", "instance", legend="limit {{instance}}"),
               title="Queue", unit="none", says="Commands that wait for the next commit, and how many may."),
        series(
            ('sum by (instance) (rate(daybook_writer_lost_races_total{job="daybook"}[$__rate_interval]))'
             ' / sum by (instance) (rate(daybook_writer_batch_commands_count{job="daybook"}[$__rate_interval]))', "{{instance}}"),
            title="Lost races", unit="percentunit", says="The share of batches decided again because another writer was first.",
        ),
        series(
            ('sum(increase(daybook_writer_unknown_outcomes_total{job="daybook"}[$__rate_interval]))', "unknown outcomes"),
            ('sum(increase(daybook_writer_refused_batches_total{job="daybook"}[$__rate_interval]))', "refused batches"),
            title="Out of the ordinary", unit="none", says="Unknown outcomes are resolved by themselves; refused batches should not be.",
        ),
        row("Memory and connections"),
        series(gauge("daybook_writer_cached_streams", "instance"), title="Streams in memory", unit="none",
               says="What the writer need not load before it decides."),
        series(gauge("daybook_pool_connections", "pool, state", "sum"), title="Pools", unit="none", says="Connections by pool, all roles."),
        series(*quantiles("daybook_http_request_duration_seconds", 'method=~"POST|PUT|DELETE"'), title="What clients see", unit="s",
               says="HTTP, commands only."),
    ]


def projections():
    selector = 'projection=~"$projection"'
    return [
        alerts("Daybook(Relay|Partition|Projection|Streams|Projector|Reads).*"),
        series(gauge("daybook_relay_leading", "job", "sum", legend="leading"), title="Relays that lead", unit="none", kind="stat",
               thresholds=((None, "red"), (1, "green"), (2, "orange")), height=4, width=6, says="Exactly one."),
        series(gauge("daybook_relay_connected", "job", "sum", legend="lead or stand by"), title="Relays that work", unit="none", kind="stat",
               thresholds=GOOD_OR_BAD, height=4, width=6, says="All that run: they lead, or stand by."),
        series(
            ('sum(max by (projection, partition) (daybook_projector_partition_owned{job="daybook", projection=~"$projection"}))', "owned"),
            title="Partitions owned", unit="none", kind="stat", height=4, width=6, thresholds=GOOD_OR_BAD,
            says="All of the topic's: 12, unless it was made otherwise."),
        series(
            ('sum by (projection) (daybook_projector_partition_stopped{job="daybook", projection=~"$projection"}'
             ' * daybook_projector_partition_owned{job="daybook", projection=~"$projection"})', "{{projection}} stopped"),
            gauge("daybook_projector_parked_streams", "projection", "sum", selector, "{{projection}} parked"),
            title="Stopped partitions, parked streams", unit="none", kind="stat", thresholds=BAD_IF_ANY, height=4, width=6, says="None."),
        row("Relay: the log to Kafka"),
        series(gauge("daybook_relay_lag_seconds", "job", legend="lag"), title="Lag in seconds", unit="s",
               thresholds=((None, "green"), (10, "red")), says="Age of the oldest event that Kafka has not acknowledged."),
        series(gauge("daybook_relay_lag_events", "job", legend="not acknowledged"), gauge("daybook_relay_in_flight_events", "instance", legend="in flight {{instance}}"),
               title="Lag in events", unit="none", says="In flight is part of it: handed to the Kafka client."),
        series(rate("daybook_relay_published_events_total", "instance"), rate("daybook_relay_failures_total", "code", legend="stopped: {{code}}"),
               title="Published", unit="ops", says="Events a second; and how often publishing stopped, and why."),
        row("Projectors: Kafka to the read models"),
        series(gauge("daybook_projector_lag_seconds", "projection, partition", selector=selector), title="Lag in seconds", unit="s",
               thresholds=((None, "green"), (30, "red")), says="How old reads are, by partition."),
        series(gauge("daybook_projector_lag_records", "projection, partition", selector=selector), title="Lag in records", unit="none",
               says="Events and watermarks not applied. One partition alone: a hot stream."),
        series(*quantiles("daybook_projector_event_age_seconds", selector), title="From the log to the view", unit="s",
               says="Age of an event when it becomes visible: the whole way behind a command."),
        series(rate("daybook_projector_applied_events_total", "projection", selector), title="Applied", unit="ops", says="Events a second."),
        series(*quantiles("daybook_projector_write_duration_seconds", selector), title="Writing", unit="s",
               says="One transaction with rows and offsets."),
        series(rate("daybook_projector_failures_total", "projection, reason", selector), title="Writes begun again", unit="ops",
               says="fenced: a partition changed its owner. database, kafka: these failed."),
        series(gauge("daybook_projector_partition_owned", "instance", "sum", selector), title="Partitions by projector", unit="none", stack=True,
               says="Shared evenly. A change of steps is a rebalance."),
        series(*quantiles("daybook_projector_batch_events", selector), title="Events of a write", unit="none", says="Grows when behind."),
        series(*quantiles("daybook_http_request_duration_seconds", 'method="GET"'), title="What readers see", unit="s",
               says="HTTP, reads; those that wait for a position are in it."),
    ]


def sagas():
    return [
        alerts("Daybook(Saga|Payment|Bank|Webhooks).*"),
        series(gauge("daybook_saga_states", "kind, state", selector='state=~"running|compensating"'), title="On their way", unit="none",
               kind="stat", height=5, says="Sagas at work."),
        series(gauge("daybook_saga_states", "kind, state", selector='state=~"unknown|parked"'), title="In doubt, or waiting for a person",
               unit="none", kind="stat", thresholds=BAD_IF_ANY, height=5,
               says="unknown: not known whether money has left. parked: a person has to decide. None is right."),
        series(('60 * sum by (kind) (rate(daybook_saga_steps_total{job="daybook", outcome="done"}[$__rate_interval]))', "{{kind}}"),
               title="Steps done a minute", unit="none", kind="stat", height=5, says="Sagas that are over are in no gauge."),
        row("Work"),
        series(rate("daybook_saga_steps_total", "kind, step, outcome"), title="Steps tried", unit="ops", says="By step and what became of it."),
        series(gauge("daybook_saga_timers_oldest_overdue_seconds", "kind"), title="Oldest overdue timer", unit="s",
               thresholds=((None, "green"), (60, "red")), says="Below a second is right: nobody is late."),
        series(gauge("daybook_saga_timers_overdue", "kind"), gauge("daybook_saga_lag_events", "job", legend="events to look at"),
               title="Overdue timers, events to look at", unit="none", says="Both near zero."),
        series(
            ('histogram_quantile(0.95, sum by (le, kind, step) (rate(daybook_saga_step_duration_seconds_bucket{job="daybook"}[$__rate_interval])))',
             "{{kind}} {{step}}"),
            title="Duration of a step, p95", unit="s", says="Steps that call the bank take as long as the bank does."),
        series(gauge("daybook_saga_states", "kind, state"), title="Sagas by state", unit="none", width=16,
               says="The largest number that a runner tells: each counts all."),
        row("Payments to and from other banks"),
        series(rate("daybook_payment_calls_total", "operation, outcome"), title="Calls of the bank", unit="ops",
               says="unknown is not failed: it is asked again until the bank says."),
        series(*quantiles("daybook_payment_call_duration_seconds", by="operation"), title="Duration of a call", unit="s", says="Its limit is the setting DAYBOOK_BANK_TIMEOUT_MS."),
        series(rate("daybook_payment_webhooks_total", "outcome"), title="Webhooks of the bank", unit="ops",
               says="replayed is right, banks send twice. refused: wrong or old signature."),
        row("Loans"),
        series(rate("daybook_commands_total", "command, outcome", 'command=~".*(Loan|Disburs|Repay|Collect|Interest).*"'), title="Commands on loans",
               unit="ops", width=12, says="What is asked of loans, and what became of it."),
        series(rate("daybook_command_rejections_total", "code", 'code=~"loan.*|.*_loan.*|saga.*|product.*"'), title="Rejections of loans and sagas",
               unit="ops", width=12, says="By rule."),
    ]


def entry_control():
    return [
        alerts("Daybook(Keys|Tokens|Permissions|Rate).*"),
        series(rate("daybook_auth_refusals_total", "reason"), title="Refused by reason", unit="reqps", width=12,
               says="token_expired is daily life. token_invalid: a broken client, a changed key or a guess. keys_unavailable: nobody gets in."),
        series(
            ('sum(rate(daybook_auth_refusals_total{job="daybook"}[$__rate_interval])) / sum(rate(daybook_http_requests_total{job="daybook"}[$__rate_interval]))', "refused"),
            title="Share refused", unit="percentunit", width=12, says="Of all requests."),
        series(rate("daybook_http_rate_limited_total", "scope"), title="Over a rate limit", unit="reqps", width=12,
               says="subject: one caller asks too much. address: one address does, or one proxy stands for many callers."),
        series(rate("daybook_http_requests_total", "role, status", 'status="4xx"'), title="Client errors", unit="reqps", width=12,
               says="All 4xx: refusals of entry control, rejections, mistakes in requests."),
        series(
            ('topk(10, sum by (role, method, route) (rate(daybook_http_requests_total{job="daybook", role=~"$role", status="4xx"}[$__rate_interval])))',
             "{{method}} {{route}}"),
            title="Routes with most client errors", unit="reqps", width=12, says="Where to look first."),
        series(rate("daybook_http_requests_shed_total", "role, reason"), title="Given up by a limit", unit="reqps", width=12,
               says="Concurrency and time."),
        series(gauge("daybook_http_refusals_held", "role, instance", "sum"), title="Refusals held back", unit="none", width=12,
               says="Of 20,000 at most a process: who asks again at once while many are refused is told so up to a second later."),
    ]


DASHBOARDS = {
    "overview": ("Daybook: overview", overview, [ROLE]),
    "write-path": ("Daybook: write path", write_path, []),
    "relay-and-projections": ("Daybook: relay and projections", projections, [PROJECTION]),
    "loans-and-sagas": ("Daybook: loans and sagas", sagas, []),
    "entry-control": ("Daybook: entry control", entry_control, [ROLE]),
}


def placed(panels):
    """The panels from left to right, a new line where one does not fit."""
    x = y = line = 0
    for number, panel in enumerate(panels, 1):
        position = panel["gridPos"]
        if x + position["w"] > WIDTH:
            x, y, line = 0, y + line, 0
        position |= {"x": x, "y": y}
        x, line = x + position["w"], max(line, position["h"])
        panel["id"] = number
    return panels


def dashboard(name):
    title, panels, variables = DASHBOARDS[name]
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "refresh": 1}
    return {
        "uid": f"daybook-{name}",
        "title": title,
        "tags": ["daybook"],
        "schemaVersion": 39,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [source, *variables]},
        "links": [{"type": "dashboards", "title": "Daybook", "tags": ["daybook"], "asDropdown": True, "includeVars": False, "keepTime": True}],
        "annotations": {"list": []},
        "panels": placed(panels()),
    }


def main():
    wrong = []
    for name in DASHBOARDS:
        text = json.dumps(dashboard(name), indent=1, ensure_ascii=False) + "\n"
        path = FOLDER / f"{name}.json"
        if sys.argv[1:] != ["--check"]:
            path.write_text(text)
        elif not path.is_file() or path.read_text() != text:
            wrong.append(f"{path} is not what {pathlib.Path(__file__).name} writes: run it without --check")
    wrong += [f"{path} has no source" for path in FOLDER.glob("*.json") if path.stem not in DASHBOARDS]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
