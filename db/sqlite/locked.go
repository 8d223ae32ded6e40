package sqlite

// Holder returns a text for people that names the process with the write lock; see
// commit.Store.
func (w groups) Holder() string {
	if other, ok := w.place.Writer(); ok {
		return other.String()
	}
	return "this process, or one that can't be seen"
}

// TryLock reports whether the write lock is free; see commit.Store.
func (w groups) TryLock() bool { return w.conn.Begin() == nil && w.conn.Rollback() == nil }
