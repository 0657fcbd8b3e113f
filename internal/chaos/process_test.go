package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// programs are what is proven and what it runs on, built from this module: the worker, and the NATS server that is pinned as a
// tool.
type programs struct{ worker, nats string }

// build makes the programs once for a test run; TestMain removes them.
var build = sync.OnceValues(func() (programs, error) {
	dir, err := os.MkdirTemp("", "chaos-*")
	if err != nil {
		return programs{}, err
	}
	builtIn = dir
	p := programs{filepath.Join(dir, "worker"), filepath.Join(dir, "nats-server")}
	for out, pkg := range map[string]string{p.worker: "wxpay-worker/cmd/worker", p.nats: "github.com/nats-io/nats-server/v2"} {
		args := []string{"build", "-o", out, pkg}
		if out == p.worker && os.Getenv("CHAOS_RACE") != "" {
			args = []string{"build", "-race", "-o", out, pkg}
		}
		if said, err := exec.Command("go", args...).CombinedOutput(); err != nil {
			return programs{}, fmt.Errorf("go build %s: %w\n%s", pkg, err, said)
		}
	}
	return p, nil
})

var builtIn string // set by build

func TestMain(m *testing.M) {
	code := m.Run()
	if builtIn != "" {
		if err := os.RemoveAll(builtIn); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// process is a program that runs beside the test; what it says goes to a file.
type process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when it has ended; state is there then
	state *os.ProcessState
}

// launch starts a program. It appends to the log what the program writes.
func launch(log, program string, env []string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close() // the process has its own
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := startBound(cmd); err != nil {
		return nil, err
	}
	p := &process{cmd: cmd, ended: make(chan struct{})}
	go func() { // ends with the process
		_ = cmd.Wait() // state says more
		p.state = cmd.ProcessState
		close(p.ended)
	}()
	return p, nil
}

// signal sends a signal; to a process that has ended, none.
func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) }

// kill is kill -9, and waits until the process is gone. A stopped process dies too.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.ended
}
