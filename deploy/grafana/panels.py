"""Grafana's dashboard JSON from a few words: panels that flow into rows, variables, annotations."""

import json

FILTER = 'namespace=~"$namespace",pod=~"$pod"'
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def select(metric: str, *labels: str) -> str:
    return f"{metric}{{{','.join([FILTER, *labels])}}}"


def of_run(metric: str, *labels: str) -> str:
    return select(metric, 'run=~"$run"', *labels)


def rate(metric: str, *labels: str, by: str = "") -> str:
    return f"sum by ({by}) (rate({select(metric, *labels)}[$__rate_interval]))"


def mean(metric: str, *labels: str, by: str = "") -> str:
    return f"{rate(metric + '_sum', *labels, by=by)} / {rate(metric + '_count', *labels, by=by)}"


def quantiles(metric: str, *labels: str, by: str = "", at: tuple = (0.5, 0.95, 0.99)) -> list:
    legend = f"{{{{{by}}}}} " if by else ""
    groups = ", ".join(filter(None, ["le", by]))
    return [(f"histogram_quantile({q}, {rate(metric + '_bucket', *labels, by=groups)})",
             f"{legend}p{q * 100:g}") for q in at]


def panel(title: str, description: str, unit: str, targets, *, alert=None, kind: str = "timeseries",
          width: int = 8, stacked: bool = False) -> dict:
    """`targets`: an expression, or pairs of expression and legend. `alert`: whose threshold is drawn."""
    if isinstance(targets, str):
        targets = [(targets, title)]
    steps = [{"color": "green", "value": None}]
    if alert is not None:
        color = {"critical": "red", "warning": "orange"}[alert.severity]
        if alert.operator == "<":
            steps = [{"color": color, "value": None}, {"color": "green", "value": alert.threshold}]
        else:
            steps.append({"color": color, "value": alert.threshold})
        description += f" Alert: {alert.name}."
    defaults = {"unit": unit, "color": {"mode": "palette-classic"},
                "thresholds": {"mode": "absolute", "steps": steps}}
    if kind == "timeseries":
        defaults["custom"] = {"lineWidth": 1, "fillOpacity": 20 if stacked else 0, "showPoints": "never",
                              "stacking": {"mode": "normal" if stacked else "none", "group": "A"},
                              "thresholdsStyle": {"mode": "line" if alert else "off"}}
        options = {"legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
                   "tooltip": {"mode": "multi", "sort": "desc"}}
    else:
        defaults["color"] = {"mode": "thresholds"}
        options = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
                   "colorMode": "value", "graphMode": "none", "textMode": "auto"}
    return {
        "type": kind, "title": title, "description": description, "datasource": DATASOURCE,
        "gridPos": {"w": width, "h": 4 if kind == "stat" else 8},
        "fieldConfig": {"defaults": defaults, "overrides": []}, "options": options,
        "targets": [{"refId": chr(ord("A") + i), "expr": expr, "legendFormat": legend, "datasource": DATASOURCE,
                     **({"instant": True} if kind == "stat" else {})}
                    for i, (expr, legend) in enumerate(targets)],
    }


def stat(title: str, description: str, unit: str, targets, *, alert=None, width: int = 4) -> dict:
    return panel(title, description, unit, targets, alert=alert, kind="stat", width=width)


def _place(rows: dict) -> list:
    placed, y = [], 0
    for title, panels in rows.items():
        placed.append({"type": "row", "title": title, "collapsed": False, "panels": [],
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}})
        y, x, height = y + 1, 0, 0
        for one in panels:
            if x + one["gridPos"]["w"] > 24:
                x, y, height = 0, y + height, 0
            one["gridPos"].update(x=x, y=y)
            x, height = x + one["gridPos"]["w"], max(height, one["gridPos"]["h"])
            placed.append(one)
        y += height
    for number, one in enumerate(placed, start=1):
        one["id"] = number
    return placed


def _variable(name: str, query: str, description: str) -> dict:
    return {"name": name, "type": "query", "label": name, "description": description,
            "datasource": DATASOURCE, "query": {"query": query, "refId": name}, "definition": query,
            "refresh": 2, "sort": 1, "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"text": ["All"], "value": ["$__all"]}, "hide": 0}


def _annotation(name: str, expr: str, color: str) -> dict:
    return {"name": name, "enable": True, "iconColor": color, "datasource": DATASOURCE, "expr": expr,
            "titleFormat": name, "step": "15s", "hide": False}


def dashboard(uid: str, title: str, description: str, rows: dict, role: str = "") -> str:
    of_role = f'{{namespace=~"$namespace"{f", role={json.dumps(role)}" if role else ""}}}'
    document = {
        "uid": f"dtrpo-{uid}", "title": f"dTRPO / {title}", "description": description, "tags": ["dtrpo"],
        "schemaVersion": 41, "version": 1, "editable": False, "graphTooltip": 1, "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"}, "timezone": "browser",
        "links": [{"type": "dashboards", "tags": ["dtrpo"], "title": "dTRPO", "asDropdown": True,
                   "includeVars": True, "keepTime": True}],
        "templating": {"list": [
            {"name": "datasource", "type": "datasource", "label": "datasource", "query": "prometheus",
             "description": "The Prometheus server.", "current": {}, "hide": 0},
            _variable("namespace", "label_values(dtrpo_build_info, namespace)", "Kubernetes namespace."),
            _variable("run", "label_values(dtrpo_coordinator_job_step_number, run)", "Job id."),
            _variable("pod", f"label_values(dtrpo_build_info{of_role}, pod)", "Pod."),
        ]},
        "annotations": {"list": [
            _annotation("weights published",
                        "changes(dtrpo_coordinator_job_weights_version_number"
                        '{namespace=~"$namespace",run=~"$run"}[$__interval]) > 0', "blue"),
            _annotation("process started",
                        'changes(process_start_time_seconds{namespace=~"$namespace"}[$__interval]) > 0', "red"),
        ]},
        "panels": _place(rows),
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
