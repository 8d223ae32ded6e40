#!/usr/bin/env bash
# The JavaScript SDK of CloudEvents sends another time than its event says.
#
# Version: cloudevents 10.0.0 (npm), on Node.js 20.
# Expected: an event whose time is a valid RFC 3339 timestamp, and whose property says so
#   unchanged, goes out with it (CloudEvents 1.0.2, "time" and "Type System").
# Seen: the property keeps nanoseconds and zone; HTTP.binary and HTTP.structured write it
#   through a Date: UTC, and cut to milliseconds. A receiver that orders or deduplicates by
#   time sees two events of one millisecond as one moment, and the zone is lost.
# Source: dist/message/http/headers.js and toJSON of dist/event/cloudevent.js in the package
#   (new Date(…).toISOString()).
# Output:
#   property: 2026-03-01T10:00:00.123456789+02:00
#   binary: 2026-03-01T08:00:00.123Z
#   structured: 2026-03-01T08:00:00.123Z
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --ignore-scripts --no-audit --no-fund --silent cloudevents@10.0.0
cat >run.mjs <<'JS'
import { CloudEvent, HTTP } from "cloudevents";
const event = new CloudEvent({ id: "1", type: "t", source: "/a", time: "2026-03-01T10:00:00.123456789+02:00" });
console.log("property: " + event.time);
console.log("binary: " + HTTP.binary(event).headers["ce-time"]);
console.log("structured: " + JSON.parse(HTTP.structured(event).body).time);
JS
got=$(node run.mjs)
want=$'property: 2026-03-01T10:00:00.123456789+02:00\nbinary: 2026-03-01T08:00:00.123Z\nstructured: 2026-03-01T08:00:00.123Z'
echo "$got"
[[ $got == "$want" ]] || { echo "this has changed; before:"; echo "$want"; exit 1; }
