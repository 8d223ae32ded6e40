package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// table prints a few rows for people. Its cells are made printable and cut.
type table struct{ tab *tabwriter.Writer }

func newTable(w io.Writer, columns ...string) *table {
	t := &table{tab: tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)}
	fmt.Fprintln(t.tab, strings.Join(columns, "\t"))
	return t
}

func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		if texts[i] = printable(cut(fmt.Sprint(c), tableCell)); texts[i] == "" {
			texts[i] = "-"
		}
	}
	fmt.Fprintln(t.tab, strings.Join(texts, "\t")) // an error stays and shows itself in end
}

func (t *table) end() error { return t.tab.Flush() }

// facts prints one thing for people, a line a fact. Empty facts are left out.
type facts struct{ tab *tabwriter.Writer }

func newFacts(w io.Writer) *facts { return &facts{tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)} }

func (f *facts) add(name string, value any) {
	if text := fmt.Sprint(value); text != "" {
		fmt.Fprintf(f.tab, "%s\t%s\n", name, printable(text))
	}
}

func (f *facts) end() error { return f.tab.Flush() }

// at formats a time in UTC, "" for none.
func at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02T15:04:05Z")
}

// seqText formats a seq or a count, "" for 0.
func seqText(n int64) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

// printJSON prints v for programs, on one line, with everything escaped that a
// terminal could obey.
func printJSON(w io.Writer, v any) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s\n", safeJSON(bytes.TrimSuffix(b.Bytes(), []byte("\n"))))
	return err
}

// quoted returns a word quoted for a shell.
func quoted(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.:/@+,") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(printable(s), "'", `'\''`) + "'"
}
