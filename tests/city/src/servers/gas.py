"""The gas company of the synthetic city: a customer API in JSON over HTTP, with tokens for its clients.

usage: gas.py METERS.ndjson SECRET_FILE port=N

Prints `listening N`. `POST /token` gives a token for the client `hub-adapter` and the secret; with one,
`POST /v2/meters/search` finds meters by holder or by address. Nothing is ever asked for in an address.
"""

import base64
import datetime
import http.server
import json
import secrets
import sys
import threading
import urllib.parse

LIFE = 300
TOKENS = set()
LOCK = threading.Lock()
METERS = []
HOLDERS = {}
# When the meters were taken over from the billing system.
LOADED = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/health":
            self.reply(200, {"status": "up"})
        elif self.path == "/health/data":
            self.reply(200, {"newest": LOADED})
        else:
            self.reply(404, {})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/token":
            self.token(body)
            return
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        with LOCK:
            known = token in TOKENS
        if not known:
            self.reply(401, {"error": "invalid_token"})
        elif self.path == "/v2/meters/search":
            asked = json.loads(body)
            holder = asked.get("holder", {}).get("national_id")
            address = asked.get("address", {}).get("code")
            found = HOLDERS.get(holder, []) if address is None else [
                meter for meter in METERS if meter["address"]["code"] == address
            ]
            self.reply(200, {"meters": found})
        else:
            self.reply(404, {})

    def token(self, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        pair = base64.b64decode(self.headers.get("Authorization", "").removeprefix("Basic ")).decode()
        user, _, secret = pair.partition(":")
        good = secrets.compare_digest(urllib.parse.unquote_plus(secret), SECRET)
        if form.get("grant_type") != "client_credentials" or user != "hub-adapter" or not good:
            self.reply(401, {"error": "invalid_client"})
            return
        token = secrets.token_urlsafe(24)
        with LOCK:
            TOKENS.add(token)
        self.reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": LIFE})


with open(sys.argv[1], encoding="utf-8") as file:
    METERS.extend(json.loads(line) for line in file)
for meter in METERS:
    HOLDERS.setdefault(meter["holder"], []).append(meter)
with open(sys.argv[2], encoding="utf-8") as file:
    SECRET = file.read().strip()
http.server.ThreadingHTTPServer.daemon_threads = True
http.server.ThreadingHTTPServer.allow_reuse_address = True
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[3].removeprefix("port="))), Api)
print(f"listening {server.server_address[1]}", flush=True)
server.serve_forever()
