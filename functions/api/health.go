package api

import (
	"net/http"

	jsonv2 "github.com/go-json-experiment/json"
)

// getHealth is GET /healthz: the process is alive and answers.
func (m *admin) getHealth(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, jsonType, []byte(`{"status":"ok"}`+"\n"))
	return nil
}

// getReady is GET /readyz: events are taken. Else 503, and the reason as a problem. A certificate that
// is about to expire is a warning in the answer: a server that is taken out of service for
// that would only be away sooner.
func (m *admin) getReady(x *exchange, r *http.Request) error {
	if stopped(m.stopping) {
		return shuttingDown.withDetail("new events are refused")
	}
	if err := m.ready(); err != nil {
		p := storeProblem(err)
		if p.status != http.StatusServiceUnavailable {
			p = unavailable.withDetail("").withCause(err)
		}
		if p.kind == storageLocked {
			p.detail = "events are not taken: " + err.Error()
		} else {
			p.detail = "events are not taken"
		}
		return p
	}
	answer := struct {
		Status  string `json:"status"`
		Warning string `json:"warning,omitzero"`
	}{Status: "ready"}
	if m.warning != nil {
		answer.Warning = m.warning()
	}
	b, err := jsonv2.Marshal(answer)
	if err != nil {
		return err
	}
	x.answer(http.StatusOK, jsonType, append(b, '\n'))
	return nil
}
