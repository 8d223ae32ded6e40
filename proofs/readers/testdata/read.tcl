package require sqlite3
sqlite3 db [lindex $argv 0] -readonly true
puts [db eval {SELECT sqlite_version(), count(*) FROM events}]
