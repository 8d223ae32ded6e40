package api

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
)

// document is openapi.yaml, read once.
var document = sync.OnceValues(func() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openAPIText)
	if err != nil {
		return nil, err
	}
	// To this validator a schema without a type is never null.
	doc.Components.Schemas["JSON"].Value.Type = &openapi3.Types{"object", "array", "string", "number", "boolean", "null"}
	// NDJSON is text to the validator; each line is an Answer of its own.
	openapi3filter.RegisterBodyDecoder("application/x-ndjson", plainBody)
	openapi3filter.RegisterBodyDecoder("application/yaml", plainBody)
	return doc, doc.Validate(openapi3.NewLoader().Context)
})

func plainBody(r io.Reader, _ http.Header, _ *openapi3.SchemaRef, _ openapi3filter.EncodingFn) (any, error) {
	text, err := io.ReadAll(r)
	return string(text), err
}

// documented checks what a test sent and was answered against openapi.yaml: every
// answer must be in it, and every request that was taken.
func documented(r *http.Request, body string, w *httptest.ResponseRecorder) error {
	_, path, _ := strings.Cut(r.Pattern, " ")
	if !strings.HasPrefix(path, "/v1/") {
		return nil // a function's own, or nobody's
	}
	doc, err := document()
	if err != nil {
		return err
	}
	item := doc.Paths.Value(path)
	if item == nil || item.GetOperation(r.Method) == nil {
		return fmt.Errorf("%s %s is not in openapi.yaml", r.Method, path)
	}
	taken := r.Clone(r.Context())
	taken.Body = io.NopCloser(strings.NewReader(body))
	if taken.Header.Get("Content-Type") == "" || strings.HasPrefix(taken.Header.Get("Content-Type"), typeForm) {
		taken.Header.Set("Content-Type", typeJSON)
	}
	params := map[string]string{}
	for _, name := range []string{"client_id", "message_id", "type"} {
		params[name] = url.PathEscape(r.PathValue(name))
	}
	options := &openapi3filter.Options{
		AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true,
		// In binary mode the body is the data, and the type is the data's.
		ExcludeRequestBody: r.Header["Ce-Specversion"] != nil,
	}
	in := &openapi3filter.RequestValidationInput{
		Request: taken, PathParams: params, QueryParams: taken.URL.Query(), Options: options,
		Route: &routers.Route{Spec: doc, Path: path, PathItem: item, Method: r.Method, Operation: item.GetOperation(r.Method)},
	}
	if w.Code < 300 {
		if err := openapi3filter.ValidateRequest(r.Context(), in); err != nil {
			return err
		}
	}
	out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(), Options: options}
	out.SetBodyBytes(w.Body.Bytes())
	return openapi3filter.ValidateResponse(r.Context(), out)
}

// What is in the document is there, and needs what it says.
func TestOpenAPI(t *testing.T) {
	doc, err := document()
	if err != nil {
		t.Fatal(err)
	}
	h := newAPI(t, Options{Tokens: mustTokens(t)})
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			if strings.HasPrefix(path, "/v1/hooks/") {
				continue // a function of main's
			}
			w := request(h, method, path, "")
			if open := operation.Security != nil; open && w.Code != 200 || !open && w.Code != 401 {
				t.Errorf("%s %s without a token: %d", method, path, w.Code)
			}
		}
	}
	w := request(h, "GET", "/v1/openapi.yaml", "")
	if w.Code != 200 || w.Header().Get("Content-Type") != "application/yaml" || w.Body.String() != string(openAPIText) {
		t.Errorf("%d %v", w.Code, w.Header())
	}
	for _, bad := range []struct{ method, pattern, body, answer, says string }{
		{"GET", "GET /v1/more", "", "{}", "not in"},
		{"GET", "GET /v1/accounts/{client_id}", "", `{"client_id":"a","state":"busy","paused":false,"replaying":false,"pending":0,"attempts":0}`, "state"},
		{"GET", "GET /v1/accounts/{client_id}", "", `{"client_id":"a","state":"idle","paused":false,"replaying":false,"pending":0,"attempts":0,"more":1}`, "more"},
		{"POST", "POST /v1/events", `{"client_id":"a","message_id":"1","payload":1,"more":1}`, `{"client_id":"a","message_id":"1","seq":1,"state":"pending","duplicate":false}`, "request body"},
	} {
		r := httptest.NewRequest(bad.method, "/v1/x", nil)
		r.Pattern = bad.pattern
		r.SetPathValue("client_id", "a")
		w := httptest.NewRecorder()
		w.Header().Set("Content-Type", typeJSON)
		_, _ = w.WriteString(bad.answer)
		if err := documented(r, bad.body, w); err == nil || !strings.Contains(err.Error(), bad.says) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

// What generators of clients refuse (oapi-codegen, ogen, openapi-typescript) is not in the
// document: lists of types, and anyOf of objects that differ in what they require.
func TestOpenAPIForGenerators(t *testing.T) {
	for i, line := range strings.Split(string(openAPIText), "\n") {
		if strings.Contains(line, "type: [") || strings.Contains(line, "anyOf:") || strings.Contains(line, "const:") {
			t.Errorf("line %d: %s", i+1, line)
		}
	}
}

func mustTokens(t *testing.T) *Tokens {
	t.Helper()
	tokens, err := LoadTokens("", "secret")
	if err != nil {
		t.Fatal(err)
	}
	return tokens
}
