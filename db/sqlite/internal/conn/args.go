package conn

import (
	"database/sql"
	"database/sql/driver"
	"math"
	"strconv"
	"time"
	"unicode"
	"unicode/utf8"
	"unsafe"

	"modernc.org/libc"
	sqlite3 "modernc.org/sqlite/lib"
)

// Convert makes values of an effect's arguments as database/sql and the driver do,
// and says whether it could. names is nil where none has one.
func Convert(values []Value, args []any) (_ []Value, names []string, ok bool) {
	for _, arg := range args {
		name := ""
		if named, is := arg.(sql.NamedArg); is {
			name, arg = named.Name, named.Value
			if first, _ := utf8.DecodeRuneInString(name); name != "" && !unicode.IsLetter(first) {
				return nil, nil, false
			}
			if names == nil {
				names = make([]string, len(args))
			}
		}
		v, ok := valueOf(arg)
		if !ok {
			converted, err := driver.DefaultParameterConverter.ConvertValue(arg)
			if err == driver.ErrRemoveArgument {
				continue
			}
			if err != nil {
				return nil, nil, false
			}
			if v, ok = valueOf(converted); !ok {
				return nil, nil, false
			}
		}
		if names != nil {
			names[len(values)] = name
		}
		values = append(values, v)
	}
	return values, names, true
}

// valueOf takes what database/sql hands to a driver.
func valueOf(arg any) (Value, bool) {
	switch x := arg.(type) {
	case int64:
		return Int(x), true
	case string:
		return Text(x), true
	case nil:
		return Null(), true
	case float64:
		return Value{kind: sqlite3.SQLITE_FLOAT, n: int64(math.Float64bits(x))}, true
	case bool:
		if x {
			return Int(1), true
		}
		return Int(0), true
	case []byte:
		if x == nil {
			return Null(), true
		}
		return Value{kind: sqlite3.SQLITE_BLOB, s: unsafe.String(unsafe.SliceData(x), len(x))}, true
	case time.Time:
		return Text(x.String()), true
	}
	return Value{}, false
}

// learnParameters finds out how many arguments s takes, and which it takes by name.
// https://www.sqlite.org/lang_expr.html#parameters
func (s *Stmt) learnParameters() {
	c := s.h
	s.params = int(sqlite3.Xsqlite3_bind_parameter_count(c.tls, s.p))
	names, named := make([]string, s.params), false
	for i := range names {
		names[i] = libc.GoString(sqlite3.Xsqlite3_bind_parameter_name(c.tls, s.p, int32(i+1)))
		named = named || names[i] != "" && names[i] != "?"+strconv.Itoa(i+1)
	}
	if named {
		s.names = names
	}
}

// Arrange puts values in the order of s's parameters, and says whether each has one.
func (s *Stmt) Arrange(values []Value, names []string) (_ []Value, ok bool) {
	if s.names == nil {
		if len(values) < s.params {
			return nil, false
		}
		return values[:s.params], true
	}
	inOrder := make([]Value, 0, s.params)
	for i, name := range s.names {
		at := i
		if name != "" {
			at = find(name, names, len(values))
		}
		if at < 0 || at >= len(values) {
			return nil, false
		}
		inOrder = append(inOrder, values[at])
	}
	return inOrder, true
}

// find returns the first of n arguments that a parameter names, by its number (?7,
// $7) or by its name, else -1.
func find(param string, names []string, n int) int {
	for i := range n {
		switch {
		case (param[0] == '?' || param[0] == '$') && param[1:] == strconv.Itoa(i+1):
			return i
		case names != nil && param[1:] == names[i]:
			return i
		}
	}
	return -1
}

// Release ends s if it is not kept.
func (s *Stmt) Release() {
	if s.Once {
		s.Close()
	}
}
