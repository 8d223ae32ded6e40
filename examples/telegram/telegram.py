"""Stands for Telegram's API where the example is tried."""
import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class Telegram(BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = json.dumps({"ok": self.path.endswith("/sendMessage"), "result": message}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", int(os.environ["TELEGRAM"])), Telegram).serve_forever()
