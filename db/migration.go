package db

// Migration is one version of a function's own tables.
type Migration struct {
	Function string
	Version  int // from 1
	SQL      string
}

// Invariant is a query that returns a row for each violation of something that
// must hold in the file; the row's first column is text for people.
type Invariant struct {
	Kind  string
	Query string
}

// Violation is something that must not be in a file.
type Violation struct {
	Kind   string // see checks; or the Kind of a function's Invariant
	Detail string // one line for people
}
