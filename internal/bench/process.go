package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a child. What it takes of the machine is read from /proc while it lives.
type process struct {
	name string
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	log  string // what it wrote to standard error
	// pprof is the address at which it serves profiles, "" if it does not.
	pprof string
}

// start starts a program whose standard error goes to a file in dir.
func start(dir, name, program string, args ...string) (*process, error) {
	log, err := os.CreateTemp(dir, name+"-*.log")
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(program, args...)
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // nothing outlives a run, however that ends
	cmd.Env = append(os.Environ(), "HTTPS_PROXY=", "NO_PROXY=*")
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &process{name: name, cmd: cmd, in: in, out: bufio.NewReader(out), log: log.Name()}, nil
}

// startSelf starts one of our own sub-commands.
func startSelf(dir string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return start(dir, args[0], self, append([]string{"-dir", dir}, args...)...)
}

// ask writes a line to a process that answers each with a line of JSON.
func (p *process) ask(question string, answer any) error {
	if _, err := fmt.Fprintln(p.in, question); err != nil {
		return fmt.Errorf("ask %s: %w", p.name, err)
	}
	line, err := p.out.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("ask %s: %w", p.name, err)
	}
	return json.Unmarshal(line, answer)
}

// end closes the input, which ends our own sub-commands, and waits.
func (p *process) end() error {
	p.in.Close()
	return p.wait()
}

// stop ends a process as a service manager would, and waits.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	return p.wait()
}

func (p *process) wait() error {
	err := p.cmd.Wait()
	p.in.Close()
	if err == nil {
		return nil
	}
	said, _ := os.ReadFile(p.log) // it may have said why
	return fmt.Errorf("%s: %w\n%s", p.name, err, lastLines(said, 5))
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], []byte("\n"))
}

// clockTick is the unit of processor times in /proc. Source: proc(5); it is 100 per second on all of Linux's platforms.
const clockTick = 10 * time.Millisecond

// cpu is the processor time that the process has used.
func (p *process) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(p.proc("stat"))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold blanks. utime and stime are fields 14 and 15.
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	fields := strings.Fields(string(rest))
	if len(fields) < 13 {
		return 0, fmt.Errorf("%s: cannot read its processor time", p.name)
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("%s: cannot read its processor time", p.name)
	}
	return time.Duration(user+system) * clockTick, nil
}

// memory is what the process has in memory now, and at most so far, in bytes.
func (p *process) memory() (now, peak int64, err error) {
	status, err := os.ReadFile(p.proc("status"))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kb, _, _ := strings.Cut(strings.TrimSpace(value), " ")
		switch name {
		case "VmRSS":
			now, err = strconv.ParseInt(kb, 10, 64)
		case "VmHWM":
			peak, err = strconv.ParseInt(kb, 10, 64)
		}
		if err != nil {
			return 0, 0, err
		}
	}
	return now << 10, peak << 10, nil
}

func (p *process) proc(file string) string {
	return filepath.Join("/proc", strconv.Itoa(p.cmd.Process.Pid), file)
}
