package serve

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"inturn/cli"
	"inturn/functions"
	"inturn/functions/webhook"
)

// maxFunctionTimeout bounds --function-timeout: what takes longer should be taken by
// the endpoint with 202 and come back as an event.
const maxFunctionTimeout = time.Hour

func (c *Config) validateWebhooks() error {
	if c.FunctionMaxConcurrent < 1 || c.FunctionTimeout <= 0 || c.FunctionTimeout > maxFunctionTimeout {
		return fmt.Errorf("--function-max-concurrent must be at least 1, --function-timeout more than 0 and at most %v", maxFunctionTimeout)
	}
	if _, err := webhook.ParseTargets(c.Function, c.InsecureFunctions); err != nil {
		return fmt.Errorf("--function: %w", err)
	}
	return nil
}

// openWebhooks makes the functions that call endpoints. epoch is asked once events run.
func (c *Config) openWebhooks(built *functions.Set, log *slog.Logger, epoch func() int64) (*webhook.Webhooks, error) {
	targets, err := webhook.ParseTargets(c.Function, c.InsecureFunctions)
	if err != nil {
		return nil, fmt.Errorf("--function: %w", err)
	}
	for _, t := range targets {
		if _, ok := built.Get(t.Type); ok {
			return nil, fmt.Errorf("--function: the type %q is built in: choose another name", t.Type)
		}
	}
	var secrets map[string][]string
	if len(targets) > 0 {
		if secrets, err = webhook.Secrets(os.Environ(), targets); err != nil {
			return nil, err
		}
	}
	w, err := webhook.New(targets, webhook.Options{
		MaxConcurrent: c.FunctionMaxConcurrent, Timeout: c.FunctionTimeout, Version: programVersion(), Secrets: secrets, Epoch: epoch, Log: log,
	})
	if errors.Is(err, webhook.ErrNoSecret) {
		return nil, &cli.Hint{
			Err:  fmt.Errorf("--function: %w", err),
			Hint: `set INTURN_FUNCTION_SECRET, and give it to the endpoint; this makes one: echo "whsec_$(openssl rand -base64 32)"`,
		}
	}
	if err != nil {
		return nil, fmt.Errorf("--function: %w", err)
	}
	return w, nil
}
