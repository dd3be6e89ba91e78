#!/usr/bin/env python3
"""One household's question, with nothing but Python's standard library.

Needs in the environment: GATEWAY (e.g. http://127.0.0.1:8480), TOKEN, SUBJECT.
"""

import json
import os
import urllib.error
import urllib.request
import uuid

missing = [name for name in ("GATEWAY", "TOKEN", "SUBJECT") if name not in os.environ]
if missing:
    raise SystemExit(f"set {', '.join(missing)} in the environment")
GATEWAY, TOKEN = os.environ["GATEWAY"], os.environ["TOKEN"]


def ask(method, path, body=None, **headers):
    request = urllib.request.Request(GATEWAY + path, method=method)
    request.add_header("authorization", f"Bearer {TOKEN}")
    for name, value in headers.items():
        request.add_header(name.replace("_", "-"), value)
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("content-type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        # `code` is stable; `next_step` says what to do; name `request_id` when you report it.
        raise SystemExit(f"{problem['code']}: {problem['next_step']} (request {problem['request_id']})")


subject = os.environ["SUBJECT"]
allowed = ask("GET", "/v1/permissions")
for contract in allowed["contracts"]:
    fields = ", ".join(field["name"] for field in contract["fields"])
    print(f"{contract['purpose']}: {contract['record']} of {contract['provider']}: {fields}")

# One key for one case: sent again after a lost answer, it opens no second one.
key = str(uuid.uuid4())
opening = {"matter": "social-assistance", "subjects": [subject]}
case = ask("POST", "/v1/cases", opening, idempotency_key=key)["case"]
assert ask("POST", "/v1/cases", opening, idempotency_key=key)["case"] == case

query = {"subject": subject, "purpose": "social-assistance.eligibility", "case": case}
record = ask("POST", "/v1/records/query", query)
for name, field in sorted(record["records"].get("Person", {}).items()):
    if field["state"] == "value":
        print(f"Person.{name}: {field['value']} (entry {field['sources'][0]['receipt']})")
    elif field["state"] == "conflict":
        print(f"Person.{name}: sources disagree:", " / ".join(str(claim["value"]) for claim in field["claims"]))
    else:
        print(f"Person.{name}: {field['state']} ({field['code']})")

ask("POST", f"/v1/cases/{case}/close", {"reason": "decided"})
