require "sqlite3"
db = SQLite3::Database.new(ARGV[0], readonly: true)
puts db.execute("SELECT sqlite_version(), count(*) FROM events").first.join(" ")
