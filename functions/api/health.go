package api

import "net/http"

// healthz: the process is alive and answers.
func (a *api) healthz(x *exchange, r *http.Request) error {
	x.answer(http.StatusOK, jsonType, []byte(`{"status":"ok"}`+"\n"))
	return nil
}

// readyz: events are taken. Else 503, and the reason as a problem.
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
	x.answer(http.StatusOK, jsonType, []byte(`{"status":"ready"}`+"\n"))
	return nil
}
