package proofs

import "syscall"

// endsWithParent lets a process die with the test process, however that ends.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
