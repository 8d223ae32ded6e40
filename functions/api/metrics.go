package api

import "net/http"

// getMetrics is GET /metrics, for Prometheus.
func (m *admin) getMetrics(x *exchange, r *http.Request) error {
	if !m.openMetrics {
		if err := m.authorizeProcess(x, r, scopeRead); err != nil {
			return err
		}
	}
	x.Header()["Cache-Control"] = noStore
	m.metrics.ServeHTTP(x, r)
	return nil
}
