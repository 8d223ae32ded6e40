package postgres

import (
	"context"
	"log/slog"
	"time"

	"inturn/db"
)

// eventLog logs what happened to an event, never its payload.
type eventLog struct {
	log      *slog.Logger
	observer db.Observer
}

func (l *eventLog) say(level slog.Level, msg string, ev db.Event, more ...slog.Attr) {
	l.log.LogAttrs(context.Background(), level, msg, append([]slog.Attr{
		slog.String("type", ev.Type), slog.String("client_id", ev.ClientID), slog.String("message_id", ev.MessageID),
		slog.Int64("seq", ev.Seq), slog.Int("attempt", ev.Attempt), slog.String("request_id", ev.RequestID),
	}, more...)...)
}

// slow notes an effect that took longer than db.SlowEffect.
func (l *eventLog) slow(ev db.Event, took time.Duration) {
	l.observer.SlowEffect(ev.Type)
	l.say(slog.LevelWarn, "slow effect", ev, slog.Duration("took", took))
}
