package serve

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"inturn/cli"
	"inturn/config"
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

// webhooks makes the functions that call endpoints: those of --function, then those of the
// configuration file.
func (a *assembler) webhooks(file *config.Config, before *assembly) (*webhook.Webhooks, error) {
	targets, err := webhook.ParseTargets(a.flags.Function, a.flags.InsecureFunctions)
	if err != nil {
		return nil, fmt.Errorf("--function: %w", err)
	}
	for _, t := range targets {
		if _, ok := a.built.Get(t.Type); ok {
			return nil, fmt.Errorf("--function: the type %q is built in: choose another name", t.Type)
		}
	}
	ofFile, err := a.targetsOf(file, targets)
	if err != nil {
		return nil, err
	}
	all := slices.Concat(targets, ofFile)
	o := webhook.Options{
		MaxConcurrent: a.flags.FunctionMaxConcurrent, Timeout: a.flags.FunctionTimeout, Version: programVersion(), Epoch: a.epoch, Log: a.log,
	}
	if before != nil {
		o.Before = before.webhooks
	}
	if len(all) > 0 {
		if o.Secrets, err = webhook.Secrets(os.Environ(), all); err != nil {
			return nil, err
		}
	}
	for i, t := range ofFile {
		if len(t.Secrets) == 0 && len(o.Secrets[t.Type]) == 0 && !t.Loopback() {
			return nil, file.At(fmt.Sprintf("functions[%d]", i), `needs secret_env or secret_file: its endpoint is beyond loopback, and there is no secret to sign with; this makes one: echo "whsec_$(openssl rand -base64 32)"`)
		}
	}
	w, err := webhook.New(all, o)
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

// targetsOf returns the endpoints of the file, whose types neither the program nor the
// flags have.
func (a *assembler) targetsOf(file *config.Config, flags []webhook.Target) ([]webhook.Target, error) {
	var all []webhook.Target
	for i, f := range file.Functions {
		at := fmt.Sprintf("functions[%d]", i)
		if _, ok := a.built.Get(f.Type); ok {
			return nil, file.At(at+".type", "is built in: choose another name")
		}
		if slices.ContainsFunc(flags, func(t webhook.Target) bool { return t.Type == f.Type }) {
			return nil, file.At(at+".type", "is given by --function too: leave one of the two out")
		}
		t, err := webhook.ParseTarget(f.Type, f.URL, a.flags.InsecureFunctions)
		if err != nil {
			return nil, file.At(at+".url", err.Error())
		}
		t.Secrets, t.MaxConcurrent, t.Timeout, t.Policy, t.Rate = f.Secrets, f.MaxConcurrent, f.Timeout, f.Policy, f.Rate.PerSecond()
		all = append(all, t)
	}
	return all, nil
}
