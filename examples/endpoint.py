"""What the endpoints of the examples share: calls that are inturn's, by the client for Python."""
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "clients", "python"))
import inturn  # noqa: E402


def serve(function):
    """Answers each call with what function makes of its event: a result, or inturn.emit's headers and body."""

    class Endpoint(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            try:
                event = inturn.verify(os.environ["INTURN_FUNCTION_SECRET"].split(), self.headers, body)
            except inturn.SignatureError as wrong:
                return self.answer(401, {}, str(wrong).encode())
            made = function(event)
            headers, text = made if isinstance(made, tuple) else ({"Content-Type": "application/json"}, json.dumps(made).encode())
            self.answer(200, headers, text)

        def answer(self, status, headers, text):
            self.send_response(status)
            for name, value in {**headers, "content-length": str(len(text))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_):
            pass

    ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("ENDPOINT", 8000))), Endpoint).serve_forever()
