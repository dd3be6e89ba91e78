"""A double of a hospital's FHIR server, for tests: PyPI `fhirstarter` over the resources of a folder.

usage: server.py FOLDER [key=PUBLIC.pem] [port=N]

Resources are read from FOLDER/*.ndjson. Patients without an identifier of the system `urn:national-id` get a
made-up one from an unused area code. Prints `listening PORT`. `POST /_control` sets faults, `GET /_log` gives what was
asked so far: the request line as an access log keeps it, and beside it the form that was sent in the body.
With a key, every request needs a token, and `/token` gives one for an assertion that the key signed.
"""

import asyncio
import base64
import json
import os
import pathlib
import socket
import sys
import time
import urllib.parse
import uuid

# The library knows R4B, which for these types of resources is R4; the version that is declared is a setting.
os.environ["FHIR_SEQUENCE"] = "R4B"

import uvicorn
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, utils
from fhir.resources.R4B.allergyintolerance import AllergyIntolerance
from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.condition import Condition
from fhir.resources.R4B.coverage import Coverage
from fhir.resources.R4B.device import Device
from fhir.resources.R4B.encounter import Encounter
from fhir.resources.R4B.medicationrequest import MedicationRequest
from fhirstarter import FHIRProvider, FHIRStarter, InteractionContext
from fhirstarter.exceptions import FHIRGeneralError

LOG = []
FAULT = {"kind": "", "times": 0, "to": ""}
STATE = {"version": "4.0.1", "paging": "cursor", "life": 300}
TOKENS = set()
SEEN = set()
CURSORS = {}
STORE = {}

# What must stand in a resource, whatever elements were asked for.
MANDATORY = {
    "Condition": {"subject"},
    "Coverage": {"status", "beneficiary", "payor"},
    "Encounter": {"status", "class"},
    "AllergyIntolerance": {"patient"},
    "MedicationRequest": {"status", "intent", "subject", "medicationCodeableConcept"},
    "Device": set(),
}


def load(folder):
    for file in sorted(folder.glob("*.ndjson")):
        for line in file.read_text(encoding="utf-8").splitlines():
            resource = json.loads(line)
            STORE.setdefault(resource["resourceType"], []).append(resource)
    for at, patient in enumerate(STORE.get("Patient", [])):
        own = patient.setdefault("identifier", [])
        if not any(identifier.get("system") == "urn:national-id" for identifier in own):
            own.append({"system": "urn:national-id", "value": f"98010119900101{at:03d}X"})


def refuse(status, code, text):
    raise FHIRGeneralError(status, "error", code, text)


def alternatives(value):
    """A value's alternatives, each split at its bars, as FHIR escapes them."""
    parts, part, piece, escaped = [], [], "", False
    for c in value:
        if escaped:
            piece, escaped = piece + c, False
        elif c == "\\":
            escaped = True
        elif c == "|":
            part, piece = [*part, piece], ""
        elif c == ",":
            parts, part, piece = [*parts, [*part, piece]], [], ""
        else:
            piece += c
    return [*parts, [*part, piece]]


def identified(value):
    wanted = alternatives(value)

    def holds(resource):
        for part in wanted:
            for own in resource.get("identifier", []):
                system = part[0] if len(part) > 1 else own.get("system")
                if own.get("value") == part[-1] and own.get("system") == system:
                    return True
        return False

    return holds


def about(patients):
    known = {f"Patient/{patient}" for patient in patients}
    return lambda r: (r.get("subject") or r.get("patient") or r.get("beneficiary") or {}).get("reference") in known


def of_person(value):
    holds = identified(value)
    return about([patient["id"] for patient in STORE["Patient"] if holds(patient)])


def of_patient(value):
    return about([part[-1].removeprefix("Patient/") for part in alternatives(value)])


def concepts(value):
    """An element that is one coded concept, or a list of them."""
    return value if isinstance(value, list) else [value]


def coded(name):
    def search(value):
        wanted = {part[-1] for part in alternatives(value)}
        return lambda r: any(
            coding.get("code") in wanted for concept in concepts(r.get(name, {})) for coding in concept.get("coding", [])
        )

    return search


def text(name):
    def search(value):
        wanted = {"|".join(part) for part in alternatives(value)}
        return lambda r: r.get(name) in wanted

    return search


def dated(of):
    def search(value):
        day = value[2:] if value[:2] in {"ge", "le"} else value

        def holds(resource):
            shown = of(resource)[: len(day)]
            return shown >= day if value[:2] == "ge" else shown <= day if value[:2] == "le" else shown == day

        return holds

    return search


def recorded(resource):
    return resource.get("recordedDate", "")


def begun(resource):
    return resource.get("period", {}).get("start", "")


# What a search parameter makes of its value: whether a resource is found.
SEARCHES = {
    "identifier": identified,
    "patient.identifier": of_person,
    "patient": of_patient,
    "manufacturer:exact": text("manufacturer"),
    "clinical-status": coded("clinicalStatus"),
    "category": coded("category"),
    "status": text("status"),
    "recorded-date": dated(recorded),
    "date": dated(begun),
}
SORTS = {
    "recorded-date": recorded,
    "date": begun,
    "_lastUpdated": lambda r: r.get("meta", {}).get("lastUpdated", ""),
}


def page(context, kind):
    pairs = context.request.query_params.multi_items()
    start = 0
    named = dict(pairs)
    if "_cursor" in named:
        pairs, start = CURSORS[named["_cursor"]]
    elif "_start" in named:
        start = int(named["_start"])
        pairs = [pair for pair in pairs if pair[0] != "_start"]
    found, count, elements = STORE.get(kind, []), 100, None
    for name, value in pairs:
        if name == "_count":
            count = min(int(value), 100)
        elif name == "_elements":
            elements = set(value.split(","))
        elif name == "_sort":
            found = sorted(found, key=SORTS[value.lstrip("-")], reverse=value.startswith("-"))
        elif name in SEARCHES:
            if value:
                found = list(filter(SEARCHES[name](value), found))
        elif "handling=strict" in context.request.headers.get("prefer", ""):
            refuse(400, "not-supported", f"search parameter {name} of {value} is not known")
    entries = []
    for resource in found[start : start + count]:
        if elements is not None:
            kept = elements | MANDATORY[kind] | {"resourceType", "id"}
            resource = {name: value for name, value in resource.items() if name in kept}
            meta = {"tag": [{"system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue", "code": "SUBSETTED"}]}
            resource["meta"] = {**resource.get("meta", {}), **meta}
        entries.append({"resource": resource, "search": {"mode": "match"}})
    bundle = {"type": "searchset", "total": len(found)}
    if entries:
        bundle["entry"] = entries
    if start + count < len(found):
        base = str(context.request.base_url) + "fhir"
        if STATE["paging"] == "cursor":
            cursor = str(uuid.uuid4())
            CURSORS[cursor] = (pairs, start + count)
            url = f"{base}/{kind}?_cursor={cursor}"
        else:
            repeated = urllib.parse.urlencode([*pairs, ("_start", start + count)])
            url = f"{base}/{kind}?{repeated}"
        bundle["link"] = [{"relation": "next", "url": url}]
    if STATE["paging"] not in {"cursor", "repeat"} and entries:
        bundle["link"] = [{"relation": "next", "url": STATE["paging"]}]
    return Bundle(**bundle)


provider = FHIRProvider()


@provider.search_type(Condition)
async def conditions(
    context: InteractionContext,
    patient: str | None,
    identifier: str | None,
    clinical_status: str | None,
    recorded_date: str | None,
    category: str | None,
) -> Bundle:
    return page(context, "Condition")


@provider.search_type(Coverage)
async def coverages(context: InteractionContext, patient: str | None, status: str | None) -> Bundle:
    return page(context, "Coverage")


@provider.search_type(AllergyIntolerance)
async def allergies(context: InteractionContext, patient: str | None, clinical_status: str | None) -> Bundle:
    return page(context, "AllergyIntolerance")


@provider.search_type(MedicationRequest)
async def medications(context: InteractionContext, patient: str | None, status: str | None) -> Bundle:
    return page(context, "MedicationRequest")


@provider.search_type(Encounter)
async def encounters(
    context: InteractionContext, patient: str | None, status: str | None, date: str | None
) -> Bundle:
    return page(context, "Encounter")


@provider.search_type(Device)
async def devices(context: InteractionContext, identifier: str | None, manufacturer: str | None) -> Bundle:
    return page(context, "Device")


def declared(statement, _request, _response):
    statement["fhirVersion"] = STATE["version"]
    return statement


def decoded(part):
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def claims_of(assertion, key, audience):
    """The claims of an assertion that holds; raises where it does not."""
    head, body, signature = assertion.split(".")
    signed, signature = f"{head}.{body}".encode(), decoded(signature)
    algorithm = json.loads(decoded(head))
    if isinstance(key, ec.EllipticCurvePublicKey):
        assert algorithm["alg"] == "ES384" and len(signature) == 96, "algorithm"
        r, s = int.from_bytes(signature[:48]), int.from_bytes(signature[48:])
        key.verify(utils.encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA384()))
    else:
        assert algorithm["alg"] == "RS384", "algorithm"
        key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA384())
    assert algorithm["typ"] == "JWT" and algorithm.get("kid") == "adapter-1", "head"
    claims = json.loads(decoded(body))
    assert claims["iss"] == claims["sub"] == "hub-adapter", "client"
    assert claims["aud"] == audience, "audience"
    assert 0 < claims["exp"] - time.time() <= 300, "expiry"
    assert claims["jti"] not in SEEN and len(claims["jti"]) >= 16, "jti"
    SEEN.add(claims["jti"])
    return claims


class Front:
    """What stands before the library: the log, faults, tokens."""

    def __init__(self, app, key):
        self.app, self.key = app, key

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        if path == "/_log":
            await self.reply(send, 200, LOG)
            return
        if path == "/_control":
            self.control(json.loads(body))
            await self.reply(send, 200, {})
            return
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        target = f"{path}?{query}" if query else path
        LOG.append({
            "line": f"{scope['method']} {target} HTTP/{scope['http_version']}",
            "form": urllib.parse.parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True),
            "authorization": headers.get("authorization", ""),
            "prefer": headers.get("prefer", ""),
        })
        if path == "/token":
            await self.token(scope, send, body)
            return
        if await self.fault(send):
            return
        token = headers.get("authorization", "").removeprefix("Bearer ")
        if self.key is not None and token not in TOKENS:
            await self.reply(send, 401, {})
            return
        if not path.startswith("/fhir/"):
            await self.reply(send, 404, {})
            return
        inner = dict(scope, path=scope["path"][5:], raw_path=scope["raw_path"][5:])
        if inner["path"].endswith("/_search") and scope["method"] == "POST":
            # The library turns a search in a form into one in a query, but fails at letters beyond ASCII.
            path, merged = inner["path"].removesuffix("/_search"), b"&".join(filter(None, [scope["query_string"], body]))
            inner.update(method="GET", path=path, raw_path=path.encode(), query_string=merged)
            skipped = {b"content-type", b"content-length"}
            inner["headers"] = [pair for pair in scope["headers"] if pair[0].lower() not in skipped]
            body = b""
        given = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def again():
            for message in given:
                return message
            return await receive()

        await self.app(inner, again, send)

    async def reply(self, send, status, body, kind="application/fhir+json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [(b"content-type", kind.encode()), (b"content-length", str(len(data)).encode()), *headers]
        await send({"type": "http.response.start", "status": status, "headers": lines})
        await send({"type": "http.response.body", "body": data})

    def control(self, asked):
        FAULT.update({"kind": "", "times": 0, "to": ""})
        FAULT.update(asked.get("fault", {}))
        STATE.update({name: asked[name] for name in STATE if name in asked})
        if asked.get("forget"):
            TOKENS.clear()
        if asked.get("clear"):
            LOG.clear()

    async def token(self, scope, send, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        try:
            host = dict(scope["headers"])[b"host"].decode()
            claims_of(form["client_assertion"], self.key, f"http://{host}/token")
            kind = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            assert form["client_assertion_type"] == kind and form["grant_type"] == "client_credentials"
            assert form["scope"] == "system/Condition.rs"
        except (AssertionError, InvalidSignature, KeyError, ValueError):
            await self.reply(send, 400, {"error": "invalid_client"}, kind="application/json")
            return
        token = str(uuid.uuid4())
        TOKENS.add(token)
        answer = {"access_token": token, "token_type": "bearer", "expires_in": STATE["life"]}
        await self.reply(send, 200, answer, kind="application/json")

    async def fault(self, send):
        if FAULT["times"] == 0:
            return False
        FAULT["times"] -= 1
        kind, to = FAULT["kind"], FAULT["to"]
        bundle = {"resourceType": "Bundle", "type": "searchset"}
        issue = {"severity": "error", "code": to, "diagnostics": "hunter2"}
        outcome = {"resourceType": "OperationOutcome", "issue": [issue]}
        device = {"resourceType": "Device", "id": "1", "modelNumber": "hunter2"}
        if kind == "status":
            await self.reply(send, int(to), b"hunter2", kind="text/plain")
        elif kind == "outcome":
            await self.reply(send, 400, outcome)
        elif kind == "retry-after":
            await self.reply(send, 429, outcome, headers=[(b"retry-after", to.encode())])
        elif kind == "slow":
            await asyncio.sleep(float(to))
            await self.reply(send, 200, bundle)
        elif kind == "beside":
            issue["severity"] = "warning"
            entries = [{"resource": device}, {"resource": outcome, "search": {"mode": "outcome"}}]
            await self.reply(send, 200, {**bundle, "entry": entries})
        elif kind == "other":
            await self.reply(send, 200, {**bundle, "entry": [{"resource": {**device, "resourceType": to}}]})
        elif kind == "json":
            await self.reply(send, 200, b'{"resourceType":"Bundle","entry":[{"hunter2"')
        elif kind == "deep":
            await self.reply(send, 200, b'{"extension":[' * 100000)
        elif kind == "wide":
            await self.reply(send, 200, b'{"entry":[' + b"{}," * 1000000 + b"{}]}")
        elif kind == "type":
            await self.reply(send, 200, b"<Bundle>hunter2</Bundle>", kind="application/fhir+xml")
        elif kind == "redirect":
            await self.reply(send, 307, b"", headers=[(b"location", to.encode())])
        elif kind == "next":
            link = {"relation": "next", "url": to}
            await self.reply(send, 200, {**bundle, "entry": [{"resource": device}], "link": [link]})
        elif kind == "endless":
            start = [(b"content-type", b"application/fhir+json")]
            await send({"type": "http.response.start", "status": 200, "headers": start})
            for _ in range(1000):
                await send({"type": "http.response.body", "body": b" " * 65536, "more_body": True})
            await send({"type": "http.response.body", "body": b"{}"})
        return True


def main():
    options = dict(argument.split("=", 1) for argument in sys.argv[2:])
    load(pathlib.Path(sys.argv[1]))
    key = None
    if "key" in options:
        key = serialization.load_pem_public_key(pathlib.Path(options["key"]).read_bytes())
    app = FHIRStarter(title="a double of a FHIR server")
    app.add_providers(provider)
    app.set_capability_statement_modifier(declared)
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", int(options.get("port", "0"))))
    listener.listen(128)
    print(f"listening {listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(Front(app, key), log_level="critical", access_log=False, lifespan="off")
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


main()
