package db

import "slices"

// Migration is one version of a function's own tables.
type Migration struct {
	Function string
	Version  int // from 1
	SQL      string
	Dialect  Dialect // "" is SQLite's
}

// Dialect is the SQL of a storage.
type Dialect string

// The dialects.
const (
	SQLite   Dialect = "sqlite"
	Postgres Dialect = "postgres"
)

// MigrationsOn returns those of list that a storage with this dialect runs, in order: where a
// version has no text of the dialect's own, the one that names none.
func MigrationsOn(d Dialect, list []Migration) (chosen []Migration) {
	for _, m := range list {
		switch at := slices.IndexFunc(chosen, func(c Migration) bool { return c.Function == m.Function && c.Version == m.Version }); {
		case m.Dialect != "" && m.Dialect != d:
		case at < 0:
			chosen = append(chosen, m)
		case m.Dialect == d:
			chosen[at] = m
		}
	}
	return chosen
}

// Invariant is a query that returns a row for each violation of something that
// must hold in the file; the row's first column is text for people.
type Invariant struct {
	Kind    string
	Query   string
	Dialect Dialect // "" is SQLite's
}

// InvariantsOn returns those of list that a storage with this dialect can ask: of a kind that
// has queries of the dialect's own, those alone.
func InvariantsOn(d Dialect, list []Invariant) (chosen []Invariant) {
	for _, i := range list {
		own := func(o Invariant) bool { return o.Kind == i.Kind && o.Dialect == d }
		if i.Dialect == d || i.Dialect == "" && !slices.ContainsFunc(list, own) {
			chosen = append(chosen, i)
		}
	}
	return chosen
}

// Violation is something that must not be in a file.
type Violation struct {
	Kind   string // see checks; or the Kind of a function's Invariant
	Detail string // one line for people
}
