package tls

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// bridge passes certmagic's log to slog. Its level info becomes debug, and its errors
// become warnings, since the server goes on and certmagic retries. Each message is logged
// at most 20 times a minute, because clients can cause some.
func bridge(log *slog.Logger) *zap.Logger {
	return zap.New(zapcore.NewSamplerWithOptions(&core{log: log}, time.Minute, 20, 0))
}

type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func level(l zapcore.Level) slog.Level {
	if l >= zapcore.WarnLevel {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

func (c *core) Enabled(l zapcore.Level) bool { return c.log.Enabled(context.Background(), level(l)) }

func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.log, slices.Concat(c.fields, fields)}
}

func (c *core) Check(e zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return checked.AddCore(e, c)
	}
	return checked
}

func (c *core) Sync() error { return nil }

// Write logs an entry with those of its fields that have plain values. Structures, headers
// and bytes are left out, since a key might be in one.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range slices.Concat(c.fields, fields) {
		switch f.Type {
		case zapcore.ByteStringType, zapcore.BinaryType, zapcore.ReflectType, zapcore.ObjectMarshalerType, zapcore.InlineMarshalerType:
		default:
			f.AddTo(values)
		}
	}
	level := level(e.Level)
	if strings.HasSuffix(e.LoggerName, "acme_client") || strings.Contains(fmt.Sprint(values.Fields["error"]), "context canceled") {
		level = slog.LevelDebug // single requests that failed, of which there is a summary, and what a stop has cut short
	}
	attrs := []slog.Attr{slog.String("from", strings.Trim("certmagic."+strings.Trim(e.LoggerName, "."), "."))}
	for _, name := range slices.Sorted(maps.Keys(values.Fields)) {
		value, ok := plain(values.Fields[name])
		if ok && !secret.MatchString(name) {
			attrs = append(attrs, slog.Any(name, value))
		}
	}
	message, _ := plain(e.Message)
	c.log.LogAttrs(context.Background(), level, "certificates: "+message.(string), attrs...)
	return nil
}

var secret = regexp.MustCompile(`(?i)key|secret|token|nonce|password|authorization|hmac|pem|csr`)

// plain returns a value that may be logged, cut to a bounded length.
func plain(value any) (any, bool) {
	const most = 1000 // bytes
	switch v := value.(type) {
	case string:
		if strings.Contains(v, "PRIVATE KEY") {
			return "(a key)", true
		}
		if len(v) > most {
			v = strings.ToValidUTF8(v[:most], "") + "…"
		}
		return v, true
	case bool, int, int64, int32, uint16, float64, time.Duration, time.Time:
		return v, true
	case []any:
		var all []string
		for _, part := range v {
			if s, ok := part.(string); ok {
				all = append(all, s)
			}
		}
		return plain(strings.Join(all, " "))
	}
	return nil, false
}
