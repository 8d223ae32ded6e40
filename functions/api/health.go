package api

import (
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"
)

// healthz: the process is alive and answers.
func (a *api) healthz(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, jsonType, []byte(`{"status":"ok"}`+"\n"))
	return nil
}

// readyz: events are taken. Else 503, and the reason as a problem. A certificate that
// is about to end is told beside it: a server that is taken out of service for it
// would only be away sooner.
func (a *api) readyz(x *exchange, r *http.Request) error {
	if a.stopped() {
		return shuttingDown.because("new events are refused")
	}
	if err := a.Store.Ready(); err != nil {
		p := storeProblem(err)
		if p.status != http.StatusServiceUnavailable {
			p = unavailable.because("").causedBy(err)
		}
		p.detail = "events are not taken"
		return p
	}
	answer := struct {
		Status  string `json:"status"`
		Warning string `json:"warning,omitzero"`
	}{Status: "ready"}
	if a.Warning != nil {
		answer.Warning = a.Warning()
	}
	b, err := jsonv2.Marshal(answer)
	if err != nil {
		return err
	}
	x.answer(http.StatusOK, jsonType, append(b, '\n'))
	return nil
}
