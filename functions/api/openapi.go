package api

import (
	_ "embed"
	"net/http"
)

//go:embed openapi.yaml
var openAPIText []byte

var yamlType = []string{"application/yaml"} // RFC 9512

// openAPI is GET /v1/openapi.yaml. It needs no token: it says nothing about anybody.
func openAPI(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, yamlType, openAPIText)
	return nil
}
