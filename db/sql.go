package db

// SQLRows is the answer to a statement of a person's.
type SQLRows struct {
	Columns []string
	Rows    [][]any // values are int64, float64, string, []byte or nil
	More    bool    // there are more rows than were asked for, or than may be held
}

// SQLError says that a statement is wrong: that is for the person to mend.
type SQLError struct{ Reason string }

func (e *SQLError) Error() string { return e.Reason }
