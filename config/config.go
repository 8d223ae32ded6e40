// Package config reads the configuration file: YAML that names the endpoints that run
// events, the schedules that make events, and the hooks that other products send to.
//
//	text --> syntax tree --> fields, each with its place --> checked values, secrets read
//	                |                    |                            |
//	                +--------------------+----------------------------+--> Error: line, column, field, fix
//
// Load reads a file, Watch reads it again when it changes. The file is strict: what it does
// not know it refuses, and so it does anchors, aliases, tags and a second document, which
// make a file mean something else than it shows. There are no secrets in it; it names the
// variable or the file where each is.
package config

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"inturn/functions"
	"inturn/functions/hook"
	"inturn/schedules"
)

// Bounds of a file.
const (
	MaxFile    = 512 << 10 // bytes; the parser's time grows with the square of an object's members
	MaxPayload = 256 << 10 // bytes of a schedule's payload, as JSON
	MaxEntries = 1000      // of each list
	MaxTimeout = time.Hour // of a call of an endpoint
	maxDepth   = 64        // of lists and objects in each other
	maxProblem = 20        // that an Error shows
)

// Config is a file that was read. Every value of it is good by itself; what depends on
// the functions of the program is checked where those are known.
type Config struct {
	Functions []Function
	Schedules []schedules.Schedule
	Hooks     []hook.Options

	// Variables are the names of the variables of the environment that have secrets.
	Variables []string

	path    string
	places  map[string]place  // of the fields, by their names
	sources map[string]string // what was read, by file; to find out what changes
}

// Function is an endpoint that runs the events of a type. Zero fields have the defaults of
// the flags of `inturn serve`.
type Function struct {
	Type, URL     string
	Secrets       []string // whsec_ and base64
	MaxConcurrent int      // calls at the same time
	Timeout       time.Duration
	Policy        functions.Policy
	Rate          Rate
}

// Rate is so many calls in a time. The zero Rate has no bound.
type Rate struct {
	Calls int
	Per   time.Duration
}

// PerSecond returns the calls in a second, 0 for no bound.
func (r Rate) PerSecond() float64 {
	if r.Per == 0 {
		return 0
	}
	return float64(r.Calls) / r.Per.Seconds()
}

// Environment returns the value of a variable and whether it is set, as os.LookupEnv.
type Environment func(name string) (string, bool)

// Load reads the file at path, and the secrets that it names from env and from files, which
// it names by a path from its own folder. An error is an *Error where the file can be read
// and is wrong.
func Load(path string, env Environment) (*Config, error) {
	c, _, err := load(path, env)
	return c, err
}

// load also returns what it has read, by file.
func load(path string, env Environment) (*Config, map[string]string, error) {
	r := &reader{env: env, sources: map[string]string{}}
	text, err := r.read(path, MaxFile)
	if err != nil {
		return nil, r.sources, fmt.Errorf("read the configuration: %w", err)
	}
	c, err := parse(path, text, r)
	return c, r.sources, err
}

// Error says what is wrong with a file.
type Error struct{ Problems []Problem }

// Problem is one thing that is wrong.
type Problem struct {
	File         string
	Line, Column int    // from 1
	Field        string // such as functions[0].url, "" for the file as a whole
	Detail       string // what must be done
}

// Error has a line for each problem.
func (e *Error) Error() string {
	var lines []string
	for _, p := range e.Problems[:min(len(e.Problems), maxProblem)] {
		lines = append(lines, p.String())
	}
	if more := len(e.Problems) - len(lines); more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(lines, "\n")
}

// String is the form that editors and terminals find places by.
func (p Problem) String() string {
	s := fmt.Sprintf("%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Field != "" {
		s += p.Field + ": "
	}
	return s + p.Detail
}

// At returns an Error about a field of the file: functions[0].url, say. A field that the
// file does not have stands at the one around it.
func (c *Config) At(field, detail string) *Error {
	return &Error{[]Problem{c.problem(field, detail)}}
}

func (c *Config) problem(field, detail string) Problem {
	p := Problem{File: c.path, Line: 1, Column: 1, Field: field, Detail: detail}
	for name := field; ; {
		if at, ok := c.places[name]; ok {
			p.Line, p.Column = at.line, at.column
			return p
		}
		i := strings.LastIndexAny(name, ".[")
		if i < 0 {
			return p
		}
		name = name[:i]
	}
}

// Join returns the problems of several errors as one Error, in the order of the file.
func Join(errs ...*Error) *Error {
	all := &Error{}
	for _, e := range errs {
		all.Problems = append(all.Problems, e.Problems...)
	}
	slices.SortStableFunc(all.Problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return all
}

// reader reads files, and remembers what was in each.
type reader struct {
	env     Environment
	sources map[string]string
}

func (r *reader) read(path string, limit int64) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		r.sources[path] = ""
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		r.sources[path] = ""
		return "", err
	}
	r.sources[path] = string(text)
	if int64(len(text)) > limit {
		return "", fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return string(text), nil
}
