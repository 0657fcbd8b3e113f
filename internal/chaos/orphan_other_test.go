//go:build !linux

package chaos

import "os/exec"

// startBound starts a process. Only Linux can kill it when this one is gone.
func startBound(cmd *exec.Cmd) error { return cmd.Start() }
