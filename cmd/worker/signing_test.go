package main

import (
	"crypto"
	"io"
	"runtime"
	"sync"
	"testing"
)

// slowSigner signs when it is told to.
type slowSigner struct {
	name    string
	began   chan<- string
	proceed <-chan struct{}
}

func (s *slowSigner) Public() crypto.PublicKey { return nil }

func (s *slowSigner) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	s.began <- s.name
	<-s.proceed
	return []byte(s.name), nil
}

// A merchant that signs once waits for one signature of each other merchant at most, however many those have to make, and no more are
// made at a time than there are processors.
func TestSigningIsFair(t *testing.T) {
	t.Parallel()
	all := newSigning()
	began, proceed := make(chan string), make(chan struct{})
	signer := func(name string) *fairSigner {
		return all.fair(&slowSigner{name, began, proceed}).(*fairSigner)
	}
	var running sync.WaitGroup
	sign := func(s *fairSigner) {
		running.Go(func() {
			if got, err := s.Sign(nil, nil, crypto.SHA256); err != nil || string(got) != s.Signer.(*slowSigner).name {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	queued := func(s *fairSigner, n int) {
		for {
			all.mu.Lock()
			waiting := len(s.waiting)
			all.mu.Unlock()
			if waiting == n {
				return
			}
			runtime.Gosched()
		}
	}
	busy, other, lone := signer("busy"), signer("other"), signer("lone")
	slots := runtime.GOMAXPROCS(0)
	for range slots + 100 {
		sign(busy)
	}
	for range slots {
		if name := <-began; name != "busy" {
			t.Fatal(name)
		}
	}
	queued(busy, 100)
	for range 10 {
		sign(other)
	}
	queued(other, 10)
	sign(lone)
	queued(lone, 1)
	var order []string
	for range 4 {
		proceed <- struct{}{}
		order = append(order, <-began)
	}
	for i, want := range []string{"busy", "other", "lone", "busy"} {
		if order[i] != want {
			t.Fatalf("%v", order)
		}
	}
	select {
	case name := <-began:
		t.Errorf("%s signs beside as many as there are processors", name)
	default:
	}
	for range slots + 100 + 10 + 1 - slots - 4 {
		proceed <- struct{}{}
		<-began
	}
	close(proceed)
	running.Wait()
	if all.free != slots || len(all.line) != 0 {
		t.Errorf("%d of %d are free at the end, %d wait", all.free, slots, len(all.line))
	}
}
