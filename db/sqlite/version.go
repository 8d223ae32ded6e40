package sqlite

import "inturn/db/sqlite/internal/conn"

// SQLiteVersion is the version of the SQLite library in this binary.
const SQLiteVersion = conn.SQLiteVersion
