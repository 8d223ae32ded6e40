package api

import (
	_ "embed"
	"net/http"
)

// openAPIText is the API's description.
//
// openAPIText is the API's description.
//
//go:embed openapi.yaml
var openAPIText []byte

var (
	yamlType   = []string{"application/yaml"} // RFC 9512
	schemaType = []string{"application/schema+json"}
)

// openAPI is GET /v1/openapi.yaml. It needs no token: it says nothing about anybody.
func openAPI(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, yamlType, openAPIText)
	return nil
}

// configSchema is GET /v1/config.schema.json: the JSON Schema of the configuration file, for
// editors. It needs no token.
func (q *queries) configSchema(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, schemaType, q.schema)
	return nil
}
