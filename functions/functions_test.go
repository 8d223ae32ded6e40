package functions_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"inturn/db"
	"inturn/functions"
)

func nothing[P any](context.Context, functions.Event, P) (functions.Effect, error) { return nil, nil }

type order struct {
	SKU    string            `json:"sku"`
	Count  int32             `json:"count"`
	Rush   bool              `json:"rush"`
	Weight float64           `json:"weight"`
	Lines  []line            `json:"lines"`
	Notes  map[string]string `json:"notes"`
	Sub    line              `json:"sub"`
}

type line struct {
	SKU string `json:"a/b~c"`
}

func (o *order) Check() error {
	if o.SKU == "" {
		return functions.Field("sku", "is missing or empty")
	}
	return nil
}

func mustSet(t *testing.T, fns ...functions.Function) *functions.Set {
	t.Helper()
	set, err := functions.NewSet(fns...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestSetCheckNamesTheField(t *testing.T) {
	set := mustSet(t, functions.New("order", nothing[order]), functions.New(functions.DefaultType, nothing[order]))
	good := functions.Event{ClientID: "c", MessageID: "m", Type: "order", Payload: []byte(`{"sku":"x"}`)}
	if got, err := set.Check(good); err != nil || got.Type != "order" {
		t.Fatalf("%+v, %v", got, err)
	}
	long := strings.Repeat("x", functions.MaxID)
	for _, c := range []struct {
		what    string
		change  func(*functions.Event)
		pointer string
	}{
		{"longest client_id", func(e *functions.Event) { e.ClientID = long }, ""},
		{"longest message_id", func(e *functions.Event) { e.MessageID = long }, ""},
		{"blanks and slashes in ids", func(e *functions.Event) { e.ClientID, e.MessageID = " a/b?c#d% ", "..." }, ""},
		{"no client_id", func(e *functions.Event) { e.ClientID = "" }, "/client_id"},
		{"client_id too long", func(e *functions.Event) { e.ClientID = long + "x" }, "/client_id"},
		{"client_id too long in bytes", func(e *functions.Event) { e.ClientID = strings.Repeat("я", 129) }, "/client_id"},
		{"client_id .", func(e *functions.Event) { e.ClientID = "." }, "/client_id"},
		{"client_id ..", func(e *functions.Event) { e.ClientID = ".." }, "/client_id"},
		{"client_id with a tab", func(e *functions.Event) { e.ClientID = "a\tb" }, "/client_id"},
		{"client_id with DEL", func(e *functions.Event) { e.ClientID = "a\x7f" }, "/client_id"},
		{"client_id with a C1 control", func(e *functions.Event) { e.ClientID = "a\u0085" }, "/client_id"},
		{"client_id that is not UTF-8", func(e *functions.Event) { e.ClientID = "a\xff" }, "/client_id"},
		{"no message_id", func(e *functions.Event) { e.MessageID = "" }, "/message_id"},
		{"message_id too long", func(e *functions.Event) { e.MessageID = long + "x" }, "/message_id"},
		{"message_id with NUL", func(e *functions.Event) { e.MessageID = "\x00" }, "/message_id"},
		{"unknown type", func(e *functions.Event) { e.Type = "Order" }, "/type"},
		{"no payload", func(e *functions.Event) { e.Payload = nil }, "/payload"},
		{"payload null", payload(`null`), "/payload/sku"}, // decodes to nothing; Check is asked
		{"payload is text", payload(`"x"`), "/payload"},
		{"payload is an array", payload(`[1]`), "/payload"},
		{"what Check refuses", payload(`{"sku":""}`), "/payload/sku"},
		{"another case is another field", payload(`{"SKU":"x"}`), "/payload/sku"},
		{"unknown fields are ignored", payload(`{"sku":"x","z":[1]}`), ""},
		{"number for a text", payload(`{"sku":1}`), "/payload/sku"},
		{"text for a number", payload(`{"sku":"x","count":"1"}`), "/payload/count"},
		{"number out of range", payload(`{"sku":"x","count":3000000000}`), "/payload/count"},
		{"fraction for a whole number", payload(`{"sku":"x","count":1.5}`), "/payload/count"},
		{"text for true", payload(`{"sku":"x","rush":"true"}`), "/payload/rush"},
		{"array for a number", payload(`{"sku":"x","weight":[]}`), "/payload/weight"},
		{"object for an array", payload(`{"sku":"x","lines":{}}`), "/payload/lines"},
		{"array for an object", payload(`{"sku":"x","notes":[]}`), "/payload/notes"},
		{"deep, with escapes of RFC 6901", payload(`{"sku":"x","lines":[{},{"a/b~c":true}]}`), "/payload/lines/1/a~1b~0c"},
		{"doubled names", payload(`{"sku":"x","sku":"y"}`), "/payload/sku"},
	} {
		t.Run(c.what, func(t *testing.T) {
			ev := good
			c.change(&ev)
			_, err := set.Check(ev)
			if c.pointer == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			fe, ok := errors.AsType[*functions.FieldError](err)
			if !ok || fe.Pointer != c.pointer || fe.Detail == "" {
				t.Errorf("%#v, want an error at %s", err, c.pointer)
			}
		})
	}
}

func payload(s string) func(*functions.Event) {
	return func(e *functions.Event) { e.Payload = []byte(s) }
}

func TestSetCheckDefaultsTheType(t *testing.T) {
	set := mustSet(t, functions.New(functions.DefaultType, nothing[struct{}]))
	got, err := set.Check(functions.Event{ClientID: "c", MessageID: "m", Payload: []byte(`{}`)})
	if err != nil || got.Type != "message" {
		t.Errorf("type %q, %v", got.Type, err)
	}
}

// A sender that forgot the type is not told only of another function's payload.
func TestSetCheckSaysThatTheTypeIsMissing(t *testing.T) {
	set := mustSet(t, functions.New(functions.DefaultType, nothing[order]))
	for _, c := range []struct {
		set           *functions.Set
		typ, payload  string
		pointer, want string
	}{
		{set, "", `{}`, "/payload/sku", `is missing or empty (the event has no type, which makes it a "message": for another function name its type)`},
		{set, "", `[]`, "/payload", `has no type`},
		{set, "message", `{}`, "/payload/sku", `is missing or empty`},
		{mustSet(t), "", `{}`, "/type", `is left out, which makes the event a "message", and there is no function for that`},
	} {
		_, err := c.set.Check(functions.Event{ClientID: "c", MessageID: "m", Type: c.typ, Payload: []byte(c.payload)})
		fe, ok := errors.AsType[*functions.FieldError](err)
		if !ok || fe.Pointer != c.pointer || !strings.Contains(fe.Detail, c.want) || c.typ != "" && fe.Detail != c.want {
			t.Errorf("type %q, %s: %v", c.typ, c.payload, err)
		}
	}
}

func TestWorkDecodesAgainAndRejectsWhatNoLongerPasses(t *testing.T) {
	var got order
	f := functions.New("order", func(_ context.Context, _ functions.Event, o order) (functions.Effect, error) {
		got = o
		return nil, nil
	})
	if _, err := f.Work(t.Context(), functions.Event{Payload: []byte(`{"sku":"x","count":3,"rush":true}`)}); err != nil {
		t.Fatal(err)
	}
	if got.SKU != "x" || got.Count != 3 || !got.Rush {
		t.Errorf("work got %+v", got)
	}
	_, err := f.Work(t.Context(), functions.Event{Payload: []byte(`{"sku":""}`)})
	if _, ok := errors.AsType[*functions.RejectError](err); !ok {
		t.Errorf("%v, want it rejected", err)
	}
	if fe, ok := errors.AsType[*functions.FieldError](err); !ok || fe.Pointer != "/payload/sku" {
		t.Errorf("%v does not name the field", err)
	}
}

func TestErrorsThatFunctionsReturn(t *testing.T) {
	cause := errors.New("price list is away")
	for what, err := range map[string]error{
		"retry":        functions.Retry(time.Minute, cause),
		"reject":       functions.Reject(cause),
		"park":         functions.Park(cause),
		"postpone":     functions.Postpone(time.Minute, cause),
		"unauthorized": functions.Unauthorized(cause),
		"wrapped":      fmt.Errorf("order 7: %w", functions.Retry(time.Minute, cause)),
	} {
		if !errors.Is(err, cause) {
			t.Errorf("%s lost its cause: %v", what, err)
		}
		if !strings.Contains(err.Error(), cause.Error()) {
			t.Errorf("%s reads %q", what, err)
		}
		_, retry := errors.AsType[*functions.RetryError](err)
		_, reject := errors.AsType[*functions.RejectError](err)
		_, unauthorized := errors.AsType[*functions.UnauthorizedError](err)
		_, park := errors.AsType[*functions.ParkError](err)
		_, postpone := errors.AsType[*functions.PostponeError](err)
		if park != (what == "park") || postpone != (what == "postpone") {
			t.Errorf("%s is park %t, postpone %t", what, park, postpone)
		}
		if retry != (what == "retry" || what == "wrapped") || reject != (what == "reject") || unauthorized != (what == "unauthorized") {
			t.Errorf("%s is retry %t, reject %t, unauthorized %t", what, retry, reject, unauthorized)
		}
	}
	if re, _ := errors.AsType[*functions.RetryError](functions.Retry(time.Minute, cause)); re.After != time.Minute {
		t.Errorf("After is %v", re.After)
	}
	// A caller that has no cause gets an error all the same, not a nil in disguise.
	for _, err := range []error{functions.Retry(0, nil), functions.Reject(nil), functions.Park(nil), functions.Postpone(0, nil)} {
		if err == nil || err.Error() == "" {
			t.Errorf("without a cause: %#v", err)
		}
	}
}

func TestFieldErrorReads(t *testing.T) {
	err := functions.Field("phone", "must be + and digits")
	if got := err.Error(); got != "payload/phone: must be + and digits" {
		t.Error(got)
	}
}

func TestOptions(t *testing.T) {
	plain := functions.New("plain", nothing[struct{}])
	if plain.Name() != "plain" || plain.Pure() || plain.MaxConcurrent() != 0 {
		t.Errorf("plain: %q, pure %t, max concurrent %d", plain.Name(), plain.Pure(), plain.MaxConcurrent())
	}
	if pattern, fn := plain.HTTP(); pattern != "" || fn != nil {
		t.Errorf("plain is an HTTP function at %q", pattern)
	}
	f := functions.New("f", nothing[struct{}], functions.Pure(), functions.MaxConcurrent(64),
		functions.Tables(1, "one"), functions.Tables(2, "two"), functions.Invariant("kind", "SELECT 1"))
	if !f.Pure() || f.MaxConcurrent() != 64 {
		t.Errorf("pure %t, max concurrent %d", f.Pure(), f.MaxConcurrent())
	}
	set := mustSet(t, plain, f)
	if got, want := set.Tables(), []db.Migration{{Function: "f", Version: 1, SQL: "one"}, {Function: "f", Version: 2, SQL: "two"}}; !slices.Equal(got, want) {
		t.Errorf("tables %+v", got)
	}
	if got, want := set.Invariants(), []db.Invariant{{Kind: "kind", Query: "SELECT 1"}}; !slices.Equal(got, want) {
		t.Errorf("invariants %+v", got)
	}
}

func TestHTTP(t *testing.T) {
	f := functions.HTTP("POST /hooks/telegram/{client_id}", func(r *http.Request) (functions.Event, error) {
		return functions.Event{ClientID: r.PathValue("client_id")}, nil
	})
	pattern, fn := f.HTTP()
	if pattern != "POST /hooks/telegram/{client_id}" || f.Name() != "" {
		t.Errorf("pattern %q, name %q", pattern, f.Name())
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", "/", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.SetPathValue("client_id", "c")
	if ev, err := fn(r); ev.ClientID != "c" || err != nil {
		t.Errorf("%+v, %v", ev, err)
	}
	set := mustSet(t, f, f, functions.New("order", nothing[struct{}]))
	if got := set.Names(); !slices.Equal(got, []string{"order"}) {
		t.Errorf("names %q: an HTTP function is no type", got)
	}
	if len(set.All()) != 3 {
		t.Errorf("%d functions", len(set.All()))
	}
}

func TestSet(t *testing.T) {
	a, b := functions.New("a", nothing[struct{}]), functions.New("b", nothing[struct{}])
	set := mustSet(t, b, a)
	if got := set.Names(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("names %q", got)
	}
	if all := set.All(); all[0].Name() != "b" || all[1].Name() != "a" {
		t.Error("All is not in the order of the list")
	}
	if f, ok := set.Get("a"); !ok || f.Name() != "a" {
		t.Errorf("Get(a): %q, %t", f.Name(), ok)
	}
	if _, ok := set.Get(""); ok {
		t.Error("Get finds a function without a name")
	}
	if _, err := functions.NewSet(a, b, a); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("a doubled name: %v", err)
	}
}

func TestNewPanicsOnWhatCantWork(t *testing.T) {
	for what, make := range map[string]func(){
		"no name":                  func() { functions.New("", nothing[struct{}]) },
		"name with a control":      func() { functions.New("a\n", nothing[struct{}]) },
		"name too long":            func() { functions.New(strings.Repeat("x", functions.MaxID+1), nothing[struct{}]) },
		"tables from 0":            func() { functions.New("x", nothing[struct{}], functions.Tables(0, "")) },
		"tables from 2":            func() { functions.New("x", nothing[struct{}], functions.Tables(2, "")) },
		"tables with a gap":        func() { functions.New("x", nothing[struct{}], functions.Tables(1, ""), functions.Tables(3, "")) },
		"tables twice":             func() { functions.New("x", nothing[struct{}], functions.Tables(1, ""), functions.Tables(1, "")) },
		"tables in another order":  func() { functions.New("x", nothing[struct{}], functions.Tables(2, ""), functions.Tables(1, "")) },
		"HTTP without a method":    func() { functions.HTTP("/hooks", nil) },
		"HTTP with a blank method": func() { functions.HTTP(" /hooks", nil) },
	} {
		t.Run(what, func(t *testing.T) {
			defer func() {
				if r := recover(); r == nil || !strings.HasPrefix(fmt.Sprint(r), "functions.") {
					t.Errorf("panic %v, want one that names the call", r)
				}
			}()
			make()
		})
	}
}
