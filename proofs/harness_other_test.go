//go:build !linux

package proofs

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return nil }
