import sqlite3, sys
db = sqlite3.connect("file:%s?mode=ro" % sys.argv[1], uri=True)
print(sqlite3.sqlite_version, db.execute("SELECT count(*) FROM events").fetchone()[0])
