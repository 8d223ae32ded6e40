package conn

import (
	"net/url"
	"strings"
)

// WriteDSN names the file at path for the connection that writes. The settings of all
// connections, and why:
//
//	journal_mode WAL     readers and the writer never wait for each other. Set once
//	                     the file is known to be ours: it changes the file
//	synchronous FULL     one fsync of the WAL a commit: an answer means durable.
//	                     (NORMAL has none, and loses the last commits with the power)
//	foreign_keys         functions' tables have foreign keys
//	busy_timeout         another program may hold the write lock for a moment; the
//	                     committer's own loop waits longer than that
//	cache_size           64 MiB: with the default of 2 MB the writer reads the file
//	                     all the time
//	journal_size_limit   a WAL that a long reader made big is cut when it is reset
//	secure_delete ON     what is deleted is overwritten, so that an erased client's text
//	                     is not in free pages; also of rows that were deleted before
//	trusted_schema OFF   a file from elsewhere can't run functions by its schema
//	query_only           readers can't write
//
// https://www.sqlite.org/pragma.html
func WriteDSN(path string) string {
	return FileDSN(path, url.Values{
		"_synchronous":  {"FULL"},
		"_busy_timeout": {"250"},
		"_foreign_keys": {"1"},
		"_pragma":       {"cache_size(-65536)", "journal_size_limit(67108864)", "secure_delete(ON)", "trusted_schema(OFF)"},
	})
}

// MemoryDSN is for a database in memory, which has one connection.
func MemoryDSN() string {
	return "file::memory:?" + url.Values{"_foreign_keys": {"1"}, "_pragma": {"trusted_schema(OFF)"}}.Encode()
}

// ReadDSN is for readers: they can't write.
func ReadDSN(path string) string {
	return FileDSN(path, url.Values{
		"mode":          {"ro"},
		"_query_only":   {"1"},
		"_busy_timeout": {"5000"},
		"_pragma":       {"cache_size(-8192)", "trusted_schema(OFF)"},
	})
}

// FileDSN is the name of the file at path for the driver. It escapes what would otherwise end the path. https://www.sqlite.org/uri.html
func FileDSN(path string, params url.Values) string {
	r := strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23")
	return "file:" + r.Replace(path) + "?" + params.Encode()
}
