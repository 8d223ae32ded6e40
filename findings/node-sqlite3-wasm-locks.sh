#!/usr/bin/env bash
# node-sqlite3-wasm shares no lock with any other SQLite, and takes a file's neighbour for one.
#
# Version: node-sqlite3-wasm 0.8.60 (npm), on Node.js 20; SQLite 3.40 beside it, in Python.
# Expected: a file that one process has locked exclusively can't be read by another: SQLite
#   answers SQLITE_BUSY (sqlite.org/lockingv3.html). What else is in the folder doesn't matter.
# Seen: the package's lock is a folder named FILE.lock. It reads while another SQLite holds
#   the exclusive lock, and where a program keeps a file of that name of its own, every
#   statement fails with "database is locked", for ever, with nobody using the database.
# Source: dist/node-sqlite3-wasm.js of the package, the functions of the VFS that lock and
#   unlock: mkdirSync and rmdirSync of the path with .lock.
# Output:
#   locked by another process: another SQLite: database is locked
#   locked by another process: node-sqlite3-wasm: 1 row
#   used by nobody, beside a file db.lock: node-sqlite3-wasm: database is locked
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
npm init -y >/dev/null
npm install --ignore-scripts --no-audit --no-fund --silent node-sqlite3-wasm@0.8.60
cat >read.mjs <<'JS'
import sqlite from "node-sqlite3-wasm";
try {
  console.log(new sqlite.Database("db").get("SELECT count(*) AS n FROM t").n + " row");
} catch (e) {
  console.log(e.message);
}
JS
cat >run.py <<'PY'
import sqlite3, subprocess
holder = sqlite3.connect("db", isolation_level=None)
holder.execute("CREATE TABLE t (a)")
holder.execute("INSERT INTO t VALUES (1)")
def wasm():
    return "node-sqlite3-wasm: " + subprocess.run(["node", "read.mjs"], capture_output=True, text=True, check=True).stdout.strip()
holder.execute("BEGIN EXCLUSIVE")
try:
    other = sqlite3.connect("db", timeout=0).execute("SELECT count(*) FROM t").fetchone()
except sqlite3.OperationalError as e:
    other = e
print("locked by another process: another SQLite:", other)
print("locked by another process:", wasm())
holder.execute("ROLLBACK")
holder.close()
open("db.lock", "w").close()
print("used by nobody, beside a file db.lock:", wasm())
PY
got=$(python3 run.py)
want='locked by another process: another SQLite: database is locked
locked by another process: node-sqlite3-wasm: 1 row
used by nobody, beside a file db.lock: node-sqlite3-wasm: database is locked'
echo "$got"
[[ $got == "$want" ]] || { echo "this has changed; before:"; echo "$want"; exit 1; }
