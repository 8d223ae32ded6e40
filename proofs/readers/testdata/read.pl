use DBI;
my $db = DBI->connect("dbi:SQLite:uri=file:$ARGV[0]?mode=ro", "", "", { RaiseError => 1 });
print join(" ", $db->selectrow_array("SELECT sqlite_version(), count(*) FROM events")), "\n";
