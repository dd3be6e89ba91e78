"""A small JSON API for tests: a real server process, with faults that a test switches on.

usage: server.py api TABLE.json [CERT.pem KEY.pem] | server.py proxy [USER:PASSWORD]

Prints `listening PORT`. The API serves rows of TABLE.json; `POST /_control` sets a fault, `GET /_log` gives
what was asked so far: request line, some headers, body.
"""

import base64
import http.client
import http.server
import json
import select
import socket
import ssl
import sys
import threading
import time
import urllib.parse

LOG = []
LOCK = threading.Lock()
FAULT = {"kind": "", "times": 0, "to": ""}
TOKENS = {"made": 0, "good": set(), "life": 300}
# What callers must show; a key only where a test asks for one.
WANTED = {"key": "", "secret": "s3cret:/+ é"}
ROWS = []
# Meters of a gas company: one that serves a dwelling, one that was applied for, one of somebody else.
METERS = [
    {"meter_no": "G-000117", "holder": "980101199001010017", "address": {"code": "A-1", "door": "301"},
     "state": "ON", "applied": "2020-03-01", "connected": "2020-04-15", "readings": [12.5, 13.0],
     "inspections": [{"result": "OK", "by": "inspector"}], "next_inspection": "20270415",
     "changed": "2026-11-20 09:30:00"},
    {"meter_no": "G-000118", "holder": "980101199001010017", "address": {"code": "A-2", "door": "1"},
     "state": "NEW", "applied": "2026-11-01", "inspections": [], "changed": "2026-11-01 08:00:00"},
    {"meter_no": "G-000119", "holder": "980101199001010025", "address": {"code": "A-3", "door": "2"},
     "state": "OFF", "changed": "2026-11-01 08:00:00"},
]


def note(handler, body):
    with LOCK:
        LOG.append({
            "line": handler.requestline,
            "authorization": handler.headers.get("Authorization", ""),
            "proxy_authorization": handler.headers.get("Proxy-Authorization", ""),
            "key": handler.headers.get("X-Api-Key", ""),
            "body": body.decode("utf-8", "replace"),
        })


def fault():
    """The fault to show now; each is shown as often as it was asked for."""
    with LOCK:
        if FAULT["times"] == 0:
            return "", ""
        FAULT["times"] -= 1
        return FAULT["kind"], FAULT["to"]


class Api(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    disable_nagle_algorithm = True
    wbufsize = 65536

    def log_message(self, *_):
        pass

    def reply(self, status, body, kind="application/json", headers=()):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def chunks(self, piece):
        """A body that never ends."""
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        except OSError:
            pass

    def broken(self, kind, to):
        """Shows a fault; false if there is none to show."""
        text = b'{"items":[]}'
        if kind == "status":
            self.reply(int(to), {"error": "refused: hunter2"})
        elif kind == "retry-after":
            self.reply(429, {}, headers=[("Retry-After", to)])
        elif kind == "slow":
            time.sleep(float(to))
            self.reply(200, text)
        elif kind == "redirect":
            self.reply(302, b"", headers=[("Location", to)])
        elif kind == "json":
            self.reply(200, b'{"items":[{"ID":"hunter2"')
        elif kind == "half":
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(text)
            self.close_connection = True
        elif kind == "endless":
            self.chunks(b" " * 65536)
        elif kind == "deep":
            self.reply(200, b"[" * 100000)
        elif kind == "wide":
            self.reply(200, b'{"items":[' + b"0," * 1000000 + b"0]}")
        elif kind == "type":
            self.reply(200, b"<html>hunter2</html>", kind="text/html")
        elif kind == "gzip":
            self.reply(200, text, headers=[("Content-Encoding", "gzip")])
        elif kind == "shape":
            self.reply(200, {"items": "hunter2"})
        elif kind == "nothing":
            self.reply(200, {"rows": []})
        elif kind == "next":
            self.reply(200, {"items": ROWS[:1], "links": {"next": to.replace("{n}", str(len(LOG)))}})
        elif kind == "headers":
            self.reply(200, text, headers=[(f"X-{at}", "x" * 1000) for at in range(200)])
        elif kind == "garbage":
            self.wfile.write(b"hunter2 hunter2 hunter2\r\n\r\n")
            self.close_connection = True
        else:
            return False
        return True

    def allowed(self):
        if WANTED["key"] and self.headers.get("X-Api-Key", "") != WANTED["key"]:
            return False
        if not TOKENS["made"]:
            return True
        return self.headers.get("Authorization", "")[len("Bearer "):] in TOKENS["good"]

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/_log":
            with LOCK:
                self.reply(200, LOG)
            return
        note(self, b"")
        if url.path == "/health":
            self.reply(200, b"ok", kind="text/plain")
            return
        if url.path == "/health/data":
            self.reply(200, {"newest": "2026-11-22T08:00:00+08:00"})
            return
        if url.path == "/status":
            self.reply(200, {"updated_at": "2026-11-22 08:00:00"})
            return
        if self.broken(*fault()):
            return
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/v1/people":
            rows = [row for row in ROWS if row.get("AREA") == query.get("area")]
            start = int(query.get("start", "0"))
            found = {"items": rows[start:start + 7], "links": {}}
            if start + 7 < len(rows):
                area = urllib.parse.quote(query["area"], safe="")
                found["links"]["next"] = f"/v1/people?area={area}&start={start + 7}"
            self.reply(200, found)
        elif url.path.startswith("/v1/people/"):
            name = urllib.parse.unquote(url.path[len("/v1/people/"):])
            rows = [row for row in ROWS if row.get("ID") == name]
            self.reply(200, rows[0]) if rows else self.reply(404, {})
        elif url.path == "/v1/page":
            self.reply(200, {"items": ROWS[1:2], "links": {"next": None}})
        else:
            self.reply(404, {})

    def do_POST(self):
        length = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(length)
        if self.path == "/_control":
            asked = json.loads(body)
            with LOCK:
                FAULT.update({"kind": "", "times": 0, "to": ""})
                FAULT.update(asked.get("fault", {}))
                TOKENS.update({"life": asked.get("life", TOKENS["life"])})
                WANTED.update({name: asked[name] for name in WANTED if name in asked})
                if asked.get("forget"):
                    TOKENS["good"] = set()
                if asked.get("clear"):
                    LOG.clear()
            self.reply(200, {})
            return
        note(self, body)
        if self.path == "/token":
            self.token(body)
            return
        if self.broken(*fault()):
            return
        if not self.allowed():
            self.reply(401, {"error": "hunter2"})
            return
        asked = json.loads(body)
        if self.path == "/v1/people/search":
            # A parameter is a value and nothing else: it is compared, whatever it holds.
            key, column = ("id", "ID") if "id" in asked else ("area", "AREA")
            rows = [row for row in ROWS if row.get(column) == asked[key]]
            self.reply(200, {"items": rows})
        elif self.path == "/v2/meters/search":
            holder = asked["holder"]["national_id"]
            self.reply(200, {"meters": [meter for meter in METERS if meter["holder"] == holder]})
        else:
            self.reply(404, {})

    def token(self, body):
        kind, to = fault()
        if kind == "token":
            self.reply(400, {"error": to, "error_description": "hunter2"})
            return
        form = dict(urllib.parse.parse_qsl(body.decode()))
        pair = base64.b64decode(self.headers.get("Authorization", "")[len("Basic "):]).decode()
        user, _, secret = pair.partition(":")
        good = form.get("grant_type") == "client_credentials" and user == "hub-adapter"
        if not good or urllib.parse.unquote_plus(secret) != WANTED["secret"]:
            self.reply(401, {"error": "invalid_client"})
            return
        with LOCK:
            TOKENS["made"] += 1
            token = f"token-{TOKENS['made']}"
            TOKENS["good"].add(token)
        self.reply(200, {"access_token": token, "token_type": "Bearer", "expires_in": TOKENS["life"]})


class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    user = ""

    def log_message(self, *_):
        pass

    def refused(self):
        wanted = "Basic " + base64.b64encode(self.user.encode()).decode()
        if self.user and self.headers.get("Proxy-Authorization", "") != wanted:
            self.send_response(407)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return True
        return False

    def do_CONNECT(self):
        note(self, b"")
        if self.refused():
            return
        host, _, port = self.path.rpartition(":")
        with socket.create_connection((host, int(port))) as there:
            self.send_response(200)
            self.end_headers()
            here = self.connection
            while True:
                for ready in select.select([here, there], [], [], 60)[0]:
                    data = ready.recv(65536)
                    if not data:
                        return
                    (there if ready is here else here).sendall(data)

    def passed(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path == "/_log":
            with LOCK:
                data = json.dumps(LOG).encode()
            status = 200
        else:
            note(self, body)
            if self.refused():
                return
            url = urllib.parse.urlsplit(self.path)
            there = http.client.HTTPConnection(url.hostname, url.port)
            headers = {"Content-Type": self.headers.get("Content-Type", "application/json")}
            target = url.path + (f"?{url.query}" if url.query else "")
            there.request(self.command, target, body, headers)
            answer = there.getresponse()
            status, data = answer.status, answer.read()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = passed


def main():
    kind = Proxy if sys.argv[1] == "proxy" else Api
    if kind is Proxy and len(sys.argv) > 2:
        Proxy.user = sys.argv[2]
    if kind is Api:
        with open(sys.argv[2], encoding="utf-8") as file:
            ROWS.extend(json.load(file))
    port = 0
    # A test that restarts the server names the port it had.
    if sys.argv[-1].startswith("port="):
        port = int(sys.argv.pop()[len("port="):])
    http.server.ThreadingHTTPServer.daemon_threads = True
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), kind)
    if kind is Api and len(sys.argv) > 4:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(sys.argv[3], sys.argv[4])
        server.socket = context.wrap_socket(server.socket, server_side=True)
    print(f"listening {server.server_address[1]}", flush=True)
    server.serve_forever()


main()
