package chaos

import (
	"os/exec"
	"runtime"
	"syscall"
)

// starts are carried out by one thread that never ends, since a child dies with the thread that started it.
var starts = func() chan<- func() {
	c := make(chan func())
	go func() {
		runtime.LockOSThread()
		for start := range c {
			start()
		}
	}()
	return c
}()

// startBound starts a process that is killed when this one is gone, however it goes. A worker that outlives a suite that was killed goes on
// trying to reach its NATS servers, and takes the lanes of whatever test's server gets one of their ports.
func startBound(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	starts <- func() { started <- cmd.Start() }
	return <-started
}
