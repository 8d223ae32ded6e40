package api

import (
	"errors"
	"io"
	"log/slog"
	"net/http"
	"strings"
)

// logLevel is GET and PUT /loglevel: what is logged from now on,
//
//	curl -X PUT -d debug http://127.0.0.1:9091/loglevel
//
// until the next start, which begins with --log-level again.
func (m *admin) logLevel(x *exchange, r *http.Request) error {
	if err := m.authorizeProcess(x, r, scopeOperate); err != nil {
		return err
	}
	if r.Method == http.MethodPut {
		text, err := io.ReadAll(io.LimitReader(r.Body, 64))
		if err != nil {
			return bodyProblem(err)
		}
		level, err := parseLevel(strings.TrimSpace(string(text)))
		if err != nil {
			return invalidRequest.withDetail("%s", err)
		}
		if was := m.level.Level(); was != level {
			m.level.Set(min(was, level, slog.LevelInfo)) // so that the next line is written
			m.log.LogAttrs(r.Context(), slog.LevelInfo, "the log level was changed", slog.String("request_id", x.requestID),
				slog.String("token_name", x.token), slog.String("from", name(was)), slog.String("to", name(level)))
			m.level.Set(level)
		}
	}
	x.answer(http.StatusOK, jsonType, []byte(`{"level":"`+name(m.level.Level())+"\"}\n"))
	return nil
}

// name is how a level is written on the command line.
func name(l slog.Level) string { return strings.ToLower(l.String()) }

func parseLevel(text string) (slog.Level, error) {
	for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
		if name(l) == text {
			return l, nil
		}
	}
	return 0, errors.New("the body must be debug, info, warn or error")
}
