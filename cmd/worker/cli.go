package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"
)

// Exit codes, a public contract.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong usage or configuration: nothing was done
	exitPartly = 3 // of several things, some were done and some were not
)

// cli is the command line. Each command is a struct with its flags and a Run method, in a file of its own.
type cli struct {
	Config string `nonempty:"" short:"c" placeholder:"FILE" help:"Configuration (default: worker.yaml, if there is one)."`
	NATS   string `nonempty:"" name:"nats" placeholder:"URL" help:"NATS servers, comma separated; overrides WXPAY_NATS_URL and nats.url."`

	Run      runCmd      `cmd:"" help:"Carry out commands until SIGINT or SIGTERM, then drain; SIGHUP reloads merchants and keys."`
	Dev      devCmd      `cmd:"" help:"NATS, a WeChat Pay simulator and the worker in one process; needs no configuration."`
	Send     sendCmd     `cmd:"" help:"Publish commands."`
	Watch    watchCmd    `cmd:"" help:"Follow outcomes."`
	Show     showCmd     `cmd:"" help:"What WeChat Pay says now of a complaint or a refund."`
	Setup    setupCmd    `cmd:"" help:"Create or update streams and lanes."`
	Check    checkCmd    `cmd:"" help:"Check configuration, files, keys, NATS and lanes; exit 1 if anything is wrong."`
	DLQ      dlqCmd      `cmd:"" name:"dlq" help:"Dead letters: what failed, why, and putting it back."`
	Simulate simulateCmd `cmd:"" help:"Only the WeChat Pay simulator."`
	Version  versionCmd  `cmd:"" help:"Print versions."`
}

// output is the flag of all commands that print results.
type output struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text, or json: one object per line."`
}

func (o output) json() bool { return o.Output == "json" }

// app is what a command works with.
type app struct {
	ctx    context.Context // ends with the first signal
	in     io.Reader
	out    io.Writer
	err    io.Writer
	config string // --config
	nats   string // --nats
}

// Main runs one command line and returns the exit code. It touches nothing of the process but files, environment, network and what
// SIGHUP does.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var c cli
	exit := -1 // set by --help, which kong goes on after
	parser, err := kong.New(&c,
		kong.Name("worker"),
		kong.Description("Moves complaint and refund commands between NATS JetStream and WeChat Pay."),
		kong.Writers(stdout, stderr),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, WrapUpperBound: 120}),
		kong.ExplicitGroups([]kong.Group{
			{Key: "reply", Title: "A reply inside, which is sent first:"},
			{Key: "refund", Title: "A refund inside, with --approve, which is sent once the approval is proven:"},
		}),
		kong.Exit(func(code int) { exit = code }),
	)
	if err != nil {
		panic(fmt.Sprintf("command line: %v", err)) // a mistake in the tags above
	}
	command, err := parser.Parse(args)
	if exit >= 0 {
		return exit
	}
	if err != nil {
		fmt.Fprintf(stderr, "worker: %v (worker --help shows the usage)\n", err)
		return exitUsage
	}
	if name := emptied(command); name != "" {
		fmt.Fprintf(stderr, "worker: --%s: expected a value, not an empty one; without it, leave the flag out\n", name)
		return exitUsage
	}
	if command.Command() != "run" && !signal.Ignored(syscall.SIGHUP) { // run reloads; nohup means that it is to go on
		var stop context.CancelFunc
		ctx, stop = signal.NotifyContext(ctx, syscall.SIGHUP) // the terminal was closed: end as with SIGTERM, and leave nothing behind
		defer stop()
	}
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	page := &page{w: stdout, full: stop}
	a := &app{ctx: ctx, in: stdin, out: page, err: stderr, config: c.Config, nats: c.NATS}
	return a.finish(page.also(command.Run(a)))
}

// page is standard output. When something cannot be printed, as on a full disk, the command ends as by a signal, and fails: ids that were
// made, or outcomes, would go on being lost. (A reader that has gone away is told to the process by SIGPIPE.)
type page struct {
	w    io.Writer
	full context.CancelFunc

	mu  sync.Mutex
	err error // the first one
}

func (p *page) Write(text []byte) (int, error) {
	n, err := p.w.Write(text)
	if err != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.err = cmp.Or(p.err, err)
		p.full()
	}
	return n, err
}

// also is the error of a command, and what could not be printed if it does not say so itself.
func (p *page) also(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil || errors.Is(err, p.err) {
		return err
	}
	return errors.Join(err, fmt.Errorf("print: %w", p.err))
}

// errInterrupted says that a signal came before the input had ended.
var errInterrupted = errors.New("interrupted: nothing was done")

// read reads a file, or standard input if it is called -, until it ends or a signal comes: a pipe, or a person, may take for ever.
func (a *app) read(name string) ([]byte, error) {
	type input struct {
		data []byte
		err  error
	}
	ended := make(chan input, 1)
	go func() { // ends with the input, or with the process
		var in input
		if name == "-" {
			in.data, in.err = io.ReadAll(a.in)
		} else {
			in.data, in.err = os.ReadFile(name)
		}
		ended <- in
	}()
	select {
	case in := <-ended:
		return in.data, in.err
	case <-a.ctx.Done():
		return nil, errInterrupted
	}
}

// emptied names a flag with the tag nonempty that was given without a value, as in --mchid "$MCHID" where nobody has set MCHID, "" if
// there is none. As if it had not been given, it would mean everything (to watch, to put back, or to drop), another server than the one
// that was meant, or an id that is new at every try.
func emptied(command *kong.Context) string {
	for _, p := range command.Path {
		if p.Flag == nil || !p.Flag.Tag.Has("nonempty") {
			continue
		}
		switch value := p.Flag.Target.Interface().(type) {
		case string:
			if value == "" {
				return p.Flag.Name
			}
		case []string: // kong makes an empty list of no text, and no text of what is before a comma
			if len(value) == 0 || slices.Contains(value, "") {
				return p.Flag.Name
			}
		}
	}
	return ""
}

// distinct leaves out what has been there before. (The server refuses filters that overlap.)
func distinct(values []string) (out []string) {
	for _, v := range values {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// finish prints why a command failed and returns the exit code.
func (a *app) finish(err error) int {
	if err == nil {
		return exitDone
	}
	fmt.Fprintf(a.err, "worker: %v\n", err)
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	return exitFailed
}

// exitError is an error with an exit code other than exitFailed.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError says that the command line or what it names is wrong.
func usageError(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// verdict is the error of a command that did something many times: nil if none went wrong, exitPartly if only some did.
func verdict(wrong, all int, format string, args ...any) error {
	switch {
	case wrong == 0:
		return nil
	case wrong < all:
		return &exitError{exitPartly, fmt.Errorf(format, args...)}
	default:
		return fmt.Errorf(format, args...)
	}
}

// isTerminal reports whether a person looks at it, or types into it.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
