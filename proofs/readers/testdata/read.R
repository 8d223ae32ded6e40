db <- DBI::dbConnect(RSQLite::SQLite(), commandArgs(TRUE)[1], flags = RSQLite::SQLITE_RO)
row <- DBI::dbGetQuery(db, "SELECT sqlite_version() AS v, count(*) AS n FROM events")
cat(row$v, row$n, "\n")
