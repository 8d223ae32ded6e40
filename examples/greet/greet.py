"""A function in Python: inturn calls it with each event of its type, an account's one after another."""
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Greet(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # connections are kept

    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["content-length"])))
        result = json.dumps({"greeting": "hello " + event["data"]["name"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(result)))
        self.end_headers()
        self.wfile.write(result)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("ENDPOINT", 8000))), Greet).serve_forever()
