package main

import (
	"crypto"
	"io"
	"runtime"
	"sync"
)

// signing lets merchants take turns at the processors. A signature takes a processor for a millisecond: a merchant that begins a second's
// quota at once asks for a tenth of a second, and another merchant's single command would stand in line behind all of it.
//
// There are never more signatures being made than there are processors, so that work of microseconds gets its share, too; and OpenSSL,
// where it signs, takes no more threads than that.
type signing struct {
	mu   sync.Mutex
	free int           // signatures that may begin; guarded by mu
	line []*fairSigner // those with some waiting, whose turn is next first; guarded by mu
}

func newSigning() *signing { return &signing{free: runtime.GOMAXPROCS(0)} }

// fairSigner is one merchant's signer.
type fairSigner struct {
	crypto.Signer
	all     *signing
	waiting []chan struct{} // oldest first; guarded by all.mu
}

func (s *signing) fair(signer crypto.Signer) crypto.Signer {
	return &fairSigner{Signer: signer, all: s}
}

// Sign implements crypto.Signer.
func (f *fairSigner) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	f.enter()
	defer f.all.leave()
	return f.Signer.Sign(random, digest, opts)
}

func (f *fairSigner) enter() {
	s := f.all
	s.mu.Lock()
	if s.free > 0 {
		s.free--
		s.mu.Unlock()
		return
	}
	if len(f.waiting) == 0 {
		s.line = append(s.line, f)
	}
	turn := make(chan struct{})
	f.waiting = append(f.waiting, turn)
	s.mu.Unlock()
	<-turn
}

// leave hands the processor to the merchant whose turn it is.
func (s *signing) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.line) == 0 {
		s.free++
		return
	}
	f := s.line[0]
	s.line = s.line[1:]
	turn := f.waiting[0]
	if f.waiting = f.waiting[1:]; len(f.waiting) > 0 {
		s.line = append(s.line, f)
	} else {
		f.waiting = nil
	}
	close(turn)
}
