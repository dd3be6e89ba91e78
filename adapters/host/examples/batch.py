#!/usr/bin/env python3
"""How many there are, and all rows page by page, with nothing but Python's standard library.

Needs in the environment: GATEWAY (e.g. http://127.0.0.1:8480), TOKEN, and contracts for counts and batches of RECORD.
"""

import json
import os
import time
import urllib.error
import urllib.request

GATEWAY, TOKEN = os.environ["GATEWAY"], os.environ["TOKEN"]
RECORD = os.environ.get("RECORD", "Dwelling")
PURPOSE = os.environ.get("PURPOSE", "social-assistance.eligibility")
MATTER = os.environ.get("MATTER", "social-assistance")
# A contract has a ceiling of exchanges in a minute; these pass by themselves.
PASSES = {429, 503, 504}


def ask(path, body):
    request = urllib.request.Request(GATEWAY + path, data=json.dumps(body).encode())
    request.add_header("authorization", f"Bearer {TOKEN}")
    request.add_header("content-type", "application/json")
    for _ in range(60):
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            problem = json.load(error)
            if error.code not in PASSES:
                break
            time.sleep(2)
    raise SystemExit(f"{problem['code']}: {problem['next_step']} (request {problem['request_id']})")


case = ask("/v1/cases", {"matter": MATTER})["case"]
why = {"purpose": PURPOSE, "case": case}

for counted in ask(f"/v1/counts/{RECORD}", why)["counts"]:
    print(f"{counted['member']}: {counted['state']} (entry {counted['receipt']})")
    # A cell that is not there is not zero: it was small, or would have given a small one away.
    for cell in counted["cells"]:
        print(f"  {', '.join(map(str, cell['fields'].values()))}: {cell['count']}")

page = {"resume": ""}
while page["resume"] is not None:
    # The first page is asked for without `resume`. Keep the last one beside your rows, and a run that ended anywhere
    # goes on where it was.
    body = {**why, "resume": page["resume"]} if page["resume"] else why
    page = ask(f"/v1/batches/{RECORD}", body)
    for record in page["records"]:
        print(json.dumps(record["fields"], ensure_ascii=False, sort_keys=True))
    print(f"{page['rows']} rows (entry {page['receipt']})")

ask(f"/v1/cases/{case}/close", {"reason": "decided"})
