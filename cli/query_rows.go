package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"strconv"
	"text/tabwriter"
	"time"
	"unicode/utf16"
	"unicode/utf8"
)

// text formats a value that is not NULL.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return hex.EncodeToString(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case time.Time:
		return v.Format(time.RFC3339Nano)
	}
	return fmt.Sprint(v)
}

// Columns of a table are as wide as their widest cell, so a table is written in
// blocks of rows, and long cells are cut.
const (
	tableBlock = 1000 // rows
	tableCell  = 120  // runes
)

type tableRows struct {
	tab  *tabwriter.Writer
	rows int
}

func newTableRows(w io.Writer) *tableRows {
	return &tableRows{tab: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
}

func (t *tableRows) header(columns []string) error {
	cells := make([]any, len(columns))
	for i, c := range columns {
		cells[i] = c
	}
	return t.row(cells)
}

func (t *tableRows) row(values []any) error {
	for i, v := range values {
		cell := "NULL"
		if v != nil {
			cell = printable(cut(text(v), tableCell))
		}
		// The last cell ends the line without a tab: nothing is aligned after it.
		end := "\t"
		if i == len(values)-1 {
			end = "\n"
		}
		if _, err := io.WriteString(t.tab, cell+end); err != nil {
			return err
		}
	}
	if t.rows++; t.rows%tableBlock == 0 {
		return t.tab.Flush()
	}
	return nil
}

func (t *tableRows) end() error { return t.tab.Flush() }

// csvRows writes NULL as nothing and, for programs, text as it is.
type csvRows struct {
	w       *csv.Writer
	escaped bool // a person looks at it
	cells   []string
}

func newCSVRows(w io.Writer, escaped bool) *csvRows {
	return &csvRows{w: csv.NewWriter(w), escaped: escaped}
}

func (c *csvRows) header(columns []string) error {
	c.cells = make([]string, len(columns))
	values := make([]any, len(columns))
	for i, name := range columns {
		values[i] = name
	}
	return c.row(values)
}

func (c *csvRows) row(values []any) error {
	for i, v := range values {
		c.cells[i] = ""
		if v != nil {
			c.cells[i] = text(v)
		}
		if c.escaped {
			c.cells[i] = printable(c.cells[i])
		}
	}
	return c.w.Write(c.cells)
}

func (c *csvRows) end() error {
	c.w.Flush()
	return c.w.Error()
}

// jsonRows writes an array of objects, one a line, keys in the order of the
// columns. Without an error it ends with the closing bracket.
type jsonRows struct {
	w    *bufio.Writer
	keys [][]byte // marshalled
	rows int
}

func (j *jsonRows) header(columns []string) error {
	for _, name := range uniqueNames(columns) {
		key, err := jsonText(name)
		if err != nil {
			return err
		}
		j.keys = append(j.keys, key)
	}
	_, err := j.w.WriteString("[")
	return err
}

func (j *jsonRows) row(values []any) error {
	if j.rows++; j.rows > 1 {
		j.w.WriteByte(',') // an error stays and shows itself below
	}
	j.w.WriteString("\n{")
	for i, v := range values {
		if i > 0 {
			j.w.WriteByte(',')
		}
		j.w.Write(j.keys[i])
		j.w.WriteByte(':')
		value, err := jsonValue(v)
		if err != nil {
			return err
		}
		j.w.Write(value)
	}
	return j.w.WriteByte('}')
}

func (j *jsonRows) end() error {
	if j.rows > 0 {
		j.w.WriteByte('\n')
	}
	_, err := j.w.WriteString("]\n")
	return err
}

// uniqueNames gives later columns of the same name a number: n, n_2, n_3. Objects
// with doubled keys lose values in most readers.
func uniqueNames(columns []string) []string {
	taken := map[string]bool{}
	for _, c := range columns {
		taken[c] = true
	}
	seen := map[string]bool{}
	names := make([]string, len(columns))
	for i, c := range columns {
		name := c
		for n := 2; seen[c] && taken[name]; n++ {
			name = fmt.Sprintf("%s_%d", c, n)
		}
		seen[c], taken[name] = true, true
		names[i] = name
	}
	return names
}

func jsonValue(v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return []byte("null"), nil
	case int64:
		return strconv.AppendInt(nil, v, 10), nil
	case bool:
		return strconv.AppendBool(nil, v), nil
	case float64:
		// SQLite knows infinities (9e999), JSON doesn't; it has no NaN.
		if !math.IsInf(v, 0) {
			return json.Marshal(v)
		}
	}
	return jsonText(text(v))
}

// jsonText marshals a string, with everything escaped that a terminal could obey:
// C1 control characters and the like are legal in JSON text.
func jsonText(s string) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(s); err != nil {
		return nil, err
	}
	return safeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))), nil
}

// safeJSON escapes, in JSON, what a terminal could obey.
func safeJSON(encoded []byte) []byte {
	if bytes.IndexFunc(encoded, unprintable) < 0 {
		return encoded
	}
	var safe []byte
	for _, r := range string(encoded) {
		if !unprintable(r) {
			safe = utf8.AppendRune(safe, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) { // RFC 8259, section 7
			safe = fmt.Appendf(safe, `\u%04x`, unit)
		}
	}
	return safe
}
