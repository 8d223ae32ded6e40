package serve

import (
	"context"
	"os"
	"syscall"

	"inturn/config"
	"inturn/db"
	"inturn/functions"
)

// Reload has the files read again that a running server follows: the configuration, the
// token file, and the certificate of --tls files. One that is not good changes nothing, and
// the log says so.
func (s *Server) Reload() {
	s.log.Info("reloading", "config", s.config.File, "token_file", s.config.TokenFile, "cert", s.config.Cert)
	for _, c := range []chan os.Signal{s.reload, s.reloadConfig} {
		select {
		case c <- syscall.SIGHUP:
		default: // it is about to be read
		}
	}
	if s.certs.reload != nil {
		s.certs.reload()
	}
}

// followConfig takes over what the configuration file says when it changes.
func (s *Server) followConfig(ctx context.Context) {
	if s.file != nil {
		s.file.Watch(ctx, s.reloadConfig, os.LookupEnv, s.takeConfig)
	}
}

// takeConfig puts a configuration in force, or says why not: then everything stays as it
// was.
func (s *Server) takeConfig(file *config.Config, err error) {
	if err == nil {
		err = s.replace(file)
	}
	s.numbers.ConfigReloaded(err == nil)
	if err != nil {
		s.log.Error("the configuration is not good: everything stays as it was", "config", s.config.File, "error", err)
		return
	}
	s.log.Info("configuration reloaded", "config", s.config.File, "functions", len(file.Functions), "schedules", len(file.Schedules), "hooks", len(file.Hooks))
}

// replace exchanges what runs events and makes events. Requests see the new functions
// first, so that the schedules' events, which come last, find theirs.
func (s *Server) replace(file *config.Config) error {
	old := s.assembly.Load()
	next, err := s.assembler.assemble(file, old)
	if err != nil {
		return err
	}
	if err := s.handler.SetFunctions(next.functions); err != nil {
		return err
	}
	s.numbers.SetTypes(next.functions.Names())
	s.assembly.Store(next)
	s.runner.SetFunctions(next.functions)
	s.ticks.Set(next.schedules)
	old.webhooks.CloseUnless(next.webhooks)
	return nil
}

// check is what each event passes that is not a client's: the functions of the moment.
func (s *Server) check(ev functions.Event) (functions.Event, error) {
	return s.assembly.Load().functions.Check(ev)
}

// checkedStore appends what has passed check.
type checkedStore struct{ *Server }

// Append is that of the storage, after check.
func (c checkedStore) Append(ctx context.Context, ev db.Event) (db.Receipt, error) {
	ev, err := c.check(ev)
	if err != nil {
		return db.Receipt{}, err
	}
	return c.store.Append(ctx, ev)
}

// Find is that of the storage.
func (c checkedStore) Find(ctx context.Context, clientID, messageID string) (db.StoredEvent, error) {
	return c.store.Find(ctx, clientID, messageID)
}
