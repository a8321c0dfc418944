"""Looks through a Grafana dashboard: dashboard.py DASHBOARD RULES.

Fails if a panel lacks what makes it readable or overlaps another. Writes its queries as recording rules, so that promtool can read them.
"""

import json
import re
import sys

dashboard = json.load(open(sys.argv[1]))
problems = []


def wants(fine, panel, what):
    if not fine:
        problems.append(f"{panel}: {what}")


variables = {variable["name"]: variable for variable in dashboard["templating"]["list"]}
wants(variables.get("datasource", {}).get("type") == "datasource", "the dashboard", "no variable for the data source")
wants(dashboard.get("uid") and dashboard.get("title") and dashboard.get("schemaVersion", 0) >= 36, "the dashboard", "no uid, title or schema")
source = {"type": "prometheus", "uid": "${datasource}"}
ids, taken, queries, titles = set(), {}, [], set()
for panel in dashboard["panels"]:
    name = f"panel {panel.get('id')} ({panel.get('title')})"
    wants(panel["id"] not in ids, name, "its id is another's, too")
    ids.add(panel["id"])
    place = panel["gridPos"]
    wants(place["x"] + place["w"] <= 24, name, "it goes over the edge")
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            wants((x, y) not in taken, name, f"it lies over {taken.get((x, y))}")
            taken[x, y] = name
    wants(panel.get("title"), name, "no title")
    if panel["type"] == "row":
        continue
    wants(panel["type"] in ("timeseries", "stat"), name, f"the type {panel['type']}")
    wants(panel.get("description"), name, "no description")
    wants(panel["fieldConfig"]["defaults"].get("unit"), name, "no unit")
    wants(panel["datasource"] == source, name, "another data source")
    wants(panel["targets"], name, "no query")
    seen = set()
    for target in panel["targets"]:
        query = target["expr"]
        wants(target["datasource"] == source, name, "a query of another data source")
        wants(target["refId"] not in seen, name, "two queries of one name")
        wants(target.get("legendFormat"), name, "a query without a legend")
        wants('instance=~"$instance"' in query, name, "a query of all processes, whatever was chosen")
        wants(not re.search(r"rate\([^)]*\[\d", query), name, "a rate over a time that does not go by the screen")
        seen.add(target["refId"])
        for variable in re.findall(r"\$\{?(\w+)", query):
            wants(variable in variables or variable == "__rate_interval", name, f"the variable {variable}")
        queries.append(query.replace("$__rate_interval", "5m").replace("$instance", ".*"))
if problems:
    sys.exit("\n".join(problems))
rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries)]
json.dump({"groups": [{"name": "dashboard", "rules": rules}]}, open(sys.argv[2], "w"))
print(f"dashboard: {len(ids)} panels, {len(queries)} queries")
