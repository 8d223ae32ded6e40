package postgres

import (
	"context"

	"inturn/db/internal/commit"
)

// work is what an operation does: *appendOp, *batchOp, *settleOp, *holdOp or *soloOp.
type work interface {
	// account is what the work has to itself in a group, "" for none.
	account() string
}

// op is an operation of the committer, and committer its queue and rules.
type (
	op        = commit.Op[work]
	committer = commit.Committer[work]
)

// soloOp is work with a transaction of its own, whose statements are sent one by one. An
// error of fn that is a refusal concerns the work alone; any other one is the server's.
type soloOp struct {
	fn func(t *transactionOf) error
}

func (*soloOp) account() string { return "" }

// solo runs fn in a transaction of its own, in its turn. after is called after the commit,
// before anything else is executed.
func (d *DB) solo(ctx context.Context, fn func(t *transactionOf) error, after func()) error {
	return d.committer.Do(ctx, &op{Work: &soloOp{fn}, Size: 4096, RetriedWhenFull: true, Exclusive: true, After: after})
}
