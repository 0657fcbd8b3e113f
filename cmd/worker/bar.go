package main

import (
	"time"

	"github.com/schollz/progressbar/v3"
)

// bar shows progress on a terminal. The nil bar shows nothing.
type bar struct{ *progressbar.ProgressBar }

// newBar returns a bar if there is more than one thing to do and somebody to look at it.
func newBar(a *app, what string, all int) *bar {
	if all < 2 || !isTerminal(a.err) {
		return nil
	}
	return &bar{progressbar.NewOptions(all,
		progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what), progressbar.OptionShowCount(),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(),
	)}
}

// print lets something else write to the terminal. What the bar's own writes return is of no use to anybody.
func (b *bar) print(write func()) {
	if b != nil {
		_ = b.Clear()
	}
	write()
}

func (b *bar) add() {
	if b != nil {
		_ = b.Add(1)
	}
}

func (b *bar) end() {
	if b != nil {
		_ = b.Exit()
	}
}
