package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/sirupsen/logrus"
)

// pprofHeaderTimeout bounds how long a client may take to say what it wants.
const pprofHeaderTimeout = 10 * time.Second

// servePprof serves the profiles of this process until stop is called. address must be isLoopback: profiles tell of what is in memory.
func servePprof(address string, log logrus.FieldLogger) (stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("serve profiles: %w (--pprof chooses another address)", err)
	}
	mux := http.NewServeMux() // not the default one, which serves whatever any package puts there
	mux.HandleFunc("/debug/pprof/", pprof.Index)
	mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: pprofHeaderTimeout}
	served := make(chan struct{})
	go func() { // ends with Close
		defer close(served)
		_ = server.Serve(listener) // http.ErrServerClosed; before that it retries what may pass
	}()
	log.WithField(fieldAddress, listener.Addr().String()).Info("serving profiles at /debug/pprof/")
	return func() {
		_ = server.Close() // of connections whose profiles nobody will read
		<-served
	}, nil
}

// isLoopback reports whether only this machine can reach a HOST:PORT.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	ip := net.ParseIP(host)
	return err == nil && isHostPort(address) && (host == "localhost" || ip != nil && ip.IsLoopback())
}
