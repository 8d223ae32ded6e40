module inturn/proofs/readers

go 1.26.0
