package conn

import sqlite3 "modernc.org/sqlite/lib"

// SQLiteVersion is the version of the SQLite library in this binary.
const SQLiteVersion = sqlite3.SQLITE_VERSION
