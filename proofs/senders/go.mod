module inturn/proofs/senders

go 1.26.0
