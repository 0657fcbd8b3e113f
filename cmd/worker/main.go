// Command worker moves complaint and refund commands between NATS JetStream and WeChat Pay (微信支付).
//
// Start with `worker dev`, which needs nothing else, and `worker --help`. What the commands promise, their exit codes and the
// configuration are a public contract: see the README.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	_ "golang.org/x/crypto/x509roots/fallback" // CA roots for a machine, or an image, that has none
)

func main() {
	ctx, drain := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // lives as long as the process
		<-signals
		drain()
		<-signals
		os.Exit(exitFailed)
	}()
	os.Exit(Main(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
