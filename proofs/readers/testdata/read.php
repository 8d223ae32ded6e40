<?php
$db = new SQLite3($argv[1], SQLITE3_OPEN_READONLY);
echo implode(" ", $db->querySingle("SELECT sqlite_version(), count(*) FROM events", true)), "\n";
