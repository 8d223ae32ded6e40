"""An endpoint for events, with Python's standard library alone, that makes trouble.

    SECRET=whsec_... python3 endpoint.py PORT LOG ELSEWHERE

It appends a line to LOG for each request before it answers, and reads LOG when it
starts: so it goes on where the last one was killed. The data of an event says what
trouble its first attempt finds.
"""

import base64, hashlib, hmac, json, os, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

port, path, elsewhere = int(sys.argv[1]), sys.argv[2], sys.argv[3]
key = base64.b64decode(os.environ["SECRET"].removeprefix("whsec_"))
log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
lock = threading.Lock()
fences = {}  # by account, the greatest
for line in open(path):
    entry = json.loads(line)
    if "account" in entry:
        fences[entry["account"]] = max(fences.get(entry["account"], ""), entry["fence"])


def note(**entry):
    os.write(log, json.dumps(entry).encode() + b"\n")


class Endpoint(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def verify(self, body):
        """As https://www.standardwebhooks.com says."""
        signed = b"%s.%s.%s" % (self.headers["webhook-id"].encode(), self.headers["webhook-timestamp"].encode(), body)
        good = "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
        given = self.headers["webhook-signature"].split(" ")
        return abs(time.time() - int(self.headers["webhook-timestamp"])) < 300 and any(hmac.compare_digest(good, g) for g in given)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        if not self.verify(body):
            note(refused=self.headers["webhook-id"])
            return self.answer(401, b"who are you?")
        event = json.loads(body)
        account, fence = event.get("partitionkey", event["source"]), self.headers["inturn-fence"]
        with lock:
            stale = fence < fences.get(account, "")
            if not stale:
                fences[account] = fence
            note(account=account, n=event["data"]["n"], id=self.headers["webhook-id"], attempt=int(self.headers["inturn-attempt"]),
                 fence=fence, path=self.path, agent=self.headers["user-agent"], sum=hashlib.sha256(body).hexdigest(),
                 trouble=event["data"].get("trouble"), stale=stale, version=self.request_version)
        if stale:
            return self.answer(409, b"a later call was here")
        trouble = event["data"].get("trouble")
        if trouble == "410":
            trouble = None if os.path.exists(path + ".mended") else trouble
        elif self.headers["inturn-attempt"] != "1" and trouble != "413" or self.path == "/moved":
            trouble = None
        if trouble is None:
            self.answer(200, json.dumps({"n": event["data"]["n"]}).encode(), ("Content-Type", "application/json"))
        elif trouble == "429":
            self.answer(429, b"", ("Retry-After", "1"))
        elif trouble == "here":
            self.answer(307, b"", ("Location", "/moved"))
        elif trouble == "elsewhere":
            self.answer(308, b"", ("Location", elsewhere))
        elif trouble.isdigit():
            self.answer(int(trouble), b"this is why", ("Content-Type", "text/plain"))
        elif trouble == "hang":
            self.close_connection = True
            time.sleep(600)
        else:
            self.close_connection = True
            text = {
                "endless": b"HTTP/1.1 200 OK\r\n\r\n", "slow": b"HTTP/1.1 200 OK\r\nX: ", "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
            }[trouble]
            self.wfile.write(text)
            while trouble != "cut":
                self.wfile.write(b"x" * (1 if trouble == "slow" else 65536))
                time.sleep(0.01 if trouble == "slow" else 0)

    def answer(self, status, body, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, address):
        pass  # a client that hangs up


server = Server(("127.0.0.1", port), Endpoint)
print(server.server_port, flush=True)
server.serve_forever()
