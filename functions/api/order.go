package api

// maxHeldAccounts bounds the accounts of which an order remembers that an event was
// refused. Past it nothing more is taken, which is safe.
const maxHeldAccounts = 10_000

// order keeps the events of a batch, of a stream of lines or of a connection in turn
// where some are refused: after a refused one the later ones of its account are not
// attempted, so that the sender can repair and resend in order. After one whose
// account can't be read none is.
//
// A nil order is ?on_error=continue: everything is attempted.
type order struct {
	held map[string]bool
	all  bool
}

// holds reports whether an event of the account must not be attempted.
func (o *order) holds(account string) bool {
	return o != nil && (o.all || o.held[account])
}

// refuse notes that an event of the account was refused; "" is one that can't be read.
func (o *order) refuse(account string) {
	switch {
	case o == nil:
	case account == "", len(o.held) >= maxHeldAccounts:
		o.all = true
	default:
		if o.held == nil {
			o.held = map[string]bool{}
		}
		o.held[account] = true
	}
}
