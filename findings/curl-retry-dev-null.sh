#!/usr/bin/env bash
# curl --retry -o /dev/null gives up after the first answer that has a body.
#
# Version: curl 7.88.1 (Debian 12's package).
# Expected: --retry sends again after 408, 429, 500, 502, 503 and 504 (curl's manual), wherever
#   the output goes.
# Seen: before it sends again curl truncates its output file to what it held before. That
#   can't be done to /dev/null, and the transfer ends with status 23, "Failed to truncate
#   file": the request is never sent again. An answer without a body is retried, and so is
#   one whose output goes to a file or, by the shell, to /dev/null.
# Source: src/tool_operate.c of curl 7.88.1, the part that prepares a retry: ftruncate of
#   the output stream if anything was written to it.
# Output:
#   -o /dev/null, no body: 3 requests, status 0
#   -o /dev/null, a body: 1 requests, status 23
#   >/dev/null, a body: 3 requests, status 0
set -euo pipefail
dir=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server"; rm -rf "$dir"' EXIT
cd "$dir"
have=$(curl --version | awk 'NR == 1 { print $2 }')
[[ $have == 7.88.1 ]] || { echo "curl is $have, and this was seen with 7.88.1"; exit 1; }
# It answers 503 twice and then 200, to each path apart, and tells how often it was asked.
cat >server.py <<'PY'
import collections, http.server
asked = collections.Counter()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        asked[self.path] += 1
        body = b"busy\n" if "body" in self.path else b""
        self.answer(503 if asked[self.path] < 3 else 200, body)
    def do_GET(self):
        self.answer(200, str(asked[self.path]).encode())
    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
s = http.server.HTTPServer(("127.0.0.1", 0), Handler)
print(s.server_port, flush=True)
s.serve_forever()
PY
mkfifo port
python3 server.py >port &
server=$!
read -r port <port
url=http://127.0.0.1:$port
try() { # what path flags…
  local status=0
  curl -s --retry 5 --retry-delay 1 -d x "${@:3}" "$url/$2" >/dev/null || status=$?
  echo "$1: $(curl -s "$url/$2") requests, status $status"
}
got=$(
  try "-o /dev/null, no body" a -o /dev/null
  try "-o /dev/null, a body" body-b -o /dev/null
  try ">/dev/null, a body" body-c
)
want='-o /dev/null, no body: 3 requests, status 0
-o /dev/null, a body: 1 requests, status 23
>/dev/null, a body: 3 requests, status 0'
echo "$got"
[[ $got == "$want" ]] || { echo "this has changed; before:"; echo "$want"; exit 1; }
