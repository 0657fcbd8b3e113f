package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"wxpay-worker/messages"
)

// terminal is a real one, and what it shows.
type terminal struct {
	keys  *os.File // what is typed
	slave *os.File
	*screen
}

func newTerminal(t *testing.T) *terminal {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatalf("no terminals on this machine: %v", err)
	}
	ioctl := func(request uintptr, n *int32) {
		if _, _, e := syscall.Syscall(syscall.SYS_IOCTL, master.Fd(), request, uintptr(unsafe.Pointer(n))); e != 0 {
			t.Fatalf("terminal: %v", e)
		}
	}
	var unlock, number int32
	ioctl(syscall.TIOCSPTLCK, &unlock)
	ioctl(syscall.TIOCGPTN, &number)
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	s := &terminal{keys: master, slave: slave, screen: newScreen()}
	ended := make(chan struct{})
	go func() { // ends when nobody has the terminal open any more
		defer close(ended)
		for buffer := make([]byte, 4096); ; {
			n, err := master.Read(buffer)
			if err != nil {
				return
			}
			_, _ = s.Write(buffer[:n])
		}
	}()
	t.Cleanup(func() { slave.Close(); <-ended; master.Close() })
	return s
}

// saw waits until it shows the text.
func (s *terminal) saw(t *testing.T, text string) {
	t.Helper()
	for late := patience(t); ; {
		all, more := s.look()
		if strings.Contains(all, text) {
			return
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("does not show %q: %s", text, all)
		}
	}
}

// TestDLQAsks: at a terminal, more than one letter is asked about, and a bar shows how far it is.
func TestDLQAsks(t *testing.T) {
	t.Parallel()
	binary := build(t)
	i := install(t, "")
	i.streams(t, 10)
	q := i.letters(t, aRefundLetter(messages.ReasonRejected, "R1"), aRefundLetter(messages.ReasonPoison, "R2"), aRefundLetter(messages.ReasonRejected, "R3"))
	ask := func(question, answer string, code int, then []string, args ...string) {
		t.Helper()
		s := newTerminal(t)
		cmd := exec.Command(binary, append(append([]string{"dlq"}, args...), "--nats", i.url)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = s.slave, s.slave, s.slave
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		s.saw(t, question)
		if _, err := s.keys.WriteString(answer); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code is looked at
		if cmd.ProcessState.ExitCode() != code {
			t.Errorf("%v: exit code %d: %s", args, cmd.ProcessState.ExitCode(), s)
		}
		for _, text := range then {
			s.saw(t, text)
		}
	}
	const back, gone = "Put back 3 dead letters (2 rejected, 1 poison)? [y/N] ", "Remove 2 dead letters (1 rejected, 1 poison) for good? [y/N] "
	for _, answer := range []string{"\n", "n\n", "yeah\n", "\x04"} { // the last is an end of input
		ask(back, answer, exitFailed, []string{"not confirmed: nothing was done"}, "replay", "--all")
	}
	ask(gone, "no\n", exitFailed, nil, "drop", "1", "2")
	if n := i.waiting(t); n != 0 || len(left(t, q)) != 3 {
		t.Fatalf("%d commands, %v", n, left(t, q))
	}
	ask(back, "y\n", exitDone, []string{"replaying", "3 put back"}, "replay", "--all")
	if n := i.waiting(t); n != 3 || len(left(t, q)) != 0 {
		t.Errorf("%d commands, %v", n, left(t, q))
	}
}
