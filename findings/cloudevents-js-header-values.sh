#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents neither encodes nor decodes header values.
#
# Version: cloudevents 10.0.0 (npm), on Node.js 20.
# Expected: in binary mode a value is percent-encoded where it has a space, a double quote,
#   a percent sign or a character outside printable ASCII, and decoded by the receiver
#   (CloudEvents HTTP Protocol Binding 1.0.2, section 3.1.3.2).
# Seen: HTTP.binary puts the value into the header as it is, and HTTP.toEvent takes the
#   header as it is: what a conforming sender has encoded arrives with its percent signs,
#   and a name beyond Latin-1 can't be sent by Node's http module at all. Of two events that
#   went through SDKs of different languages the same account has two names.
# Source: dist/message/http/headers.js and index.js of the package: no call of
#   encodeURIComponent or decodeURIComponent.
# Output:
#   sent: Anna Müller 100%
#   received: Anna%20M%C3%BCller%20100%25
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --ignore-scripts --no-audit --no-fund --silent cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents";
const name = "Anna Müller 100%";
const sent = HTTP.binary(new CloudEvent({ id: "1", type: "t", source: "/a", partitionkey: name }));
console.log("sent: " + sent.headers["ce-partitionkey"]);
const encoded = { ...sent.headers, "ce-partitionkey": encodeURIComponent(name) };
console.log("received: " + HTTP.toEvent({ headers: encoded, body: sent.body }).partitionkey);
JS
got=$(node run.mjs)
want=$'sent: Anna Müller 100%\nreceived: Anna%20M%C3%BCller%20100%25'
echo "$got"
[[ $got == "$want" ]] || { echo "this has changed; before:"; echo "$want"; exit 1; }
