package wxpay

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// newHostsTest is two hosts and their clock (synctest's, so that minutes pass at once).
func newHostsTest() *hosts { return newHosts([]string{"A", "B"}, time.Now) }

func wantOrder(t *testing.T, h *hosts, repeatable bool, first string, probe bool) {
	t.Helper()
	current := h.current()
	order, isProbe := h.order(repeatable)
	if !probe && current != first || probe && current == first {
		t.Errorf("%s is in use, want %s first (probe %v)", current, first, probe)
	}
	if order[0] != first || len(order) != 2 || isProbe != probe {
		t.Errorf("order is %v (probe %v), want %s first (probe %v)", order, isProbe, first, probe)
	}
}

func TestHostsThreeFailuresInARow(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHostsTest()
		h.note("A", false, false)
		h.note("A", false, false)
		h.note("B", false, false) // the backup's results decide nothing
		wantOrder(t, h, true, "A", false)
		h.note("A", true, false)
		h.note("A", false, false)
		wantOrder(t, h, true, "A", false)
		h.note("A", false, false)
		h.note("A", false, false)
		wantOrder(t, h, true, "B", false)
	})
}

func TestHostsRate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHostsTest()
		for i := range 100 {
			h.note("A", i%10 != 0, false) // 90 % good
		}
		wantOrder(t, h, true, "A", false)
		h.note("A", true, false) // pushes out a failure
		h.note("A", false, false)
		wantOrder(t, h, true, "A", false)
		h.note("A", false, false) // pushes out a success: 89 %
		wantOrder(t, h, true, "B", false)
	})
}

func TestHostsProbe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHostsTest()
		for range 3 {
			h.note("A", false, false)
		}
		wantOrder(t, h, true, "B", false)
		time.Sleep(probeEvery)
		wantOrder(t, h, false, "B", false) // a reply is no probe
		wantOrder(t, h, true, "A", true)
		wantOrder(t, h, true, "B", false) // one at a time
		h.note("A", false, true)
		wantOrder(t, h, true, "B", false)
		h.note("A", true, false) // begun before it went down
		h.note("A", false, false)
		h.note("A", false, false)
		h.note("A", false, false)
		wantOrder(t, h, true, "B", false)
		time.Sleep(probeEvery)
		wantOrder(t, h, true, "A", true)
		h.note("A", true, true)
		wantOrder(t, h, false, "A", false)
	})
}

// TestHostsExpiry: results that are too old to count say "try the preferred host", even if no call ever may probe.
func TestHostsExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h := newHostsTest()
		for range 100 {
			h.note("A", false, false)
		}
		time.Sleep(resultsAge - time.Second)
		wantOrder(t, h, false, "B", false)
		time.Sleep(time.Second)
		wantOrder(t, h, false, "A", false)
	})
}

// TestFailover: what changes host within one call, and what does not.
func TestFailover(t *testing.T) {
	t.Parallel()
	refuse := func(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp4", Err: syscall.ECONNREFUSED}
	}
	through := func(ctx context.Context, dial func() (net.Conn, error)) (net.Conn, error) { return dial() }
	closing := func(request) []byte { return nil }
	good := func(request) []byte { return signed(204, "").bytes() }
	tests := []struct {
		name          string
		dial1, dial2  func(context.Context, func() (net.Conn, error)) (net.Conn, error)
		first, second func(request) []byte
		host          string // of the error; empty = no error
		sent          bool
		got1, got2    int
	}{
		{"both well", through, through, good, good, "", false, 1, 0},
		{"first cannot be reached", refuse, through, good, good, "", false, 0, 1},
		{"neither can", refuse, refuse, good, good, testHost2, false, 0, 0},
		{"first does not answer", through, through, closing, good, testHost, true, 1, 0},
		{"first refuses", through, through, func(request) []byte { return reply{status: 502}.bytes() }, good, "", false, 1, 0},
		{"second does not answer", refuse, through, good, closing, testHost2, true, 0, 1},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s1, s2 := serve(t, tc.first), serve(t, tc.second)
			c := newTestClient(t, s1, func(c *Config) {
				c.Hosts = []string{testHost, testHost2}
				tr := newTestTransport(t, map[string]string{"api.mch.weixin.qq.com:443": s1.addr, "api2.mch.weixin.qq.com:443": s2.addr})
				dial := tr.DialContext
				tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
					by := tc.dial1
					if addr == "api2.mch.weixin.qq.com:443" {
						by = tc.dial2
					}
					return by(ctx, func() (net.Conn, error) { return dial(ctx, network, addr) })
				}
				c.Transport = tr
			})
			err := c.CompleteComplaint(t.Context(), seedComplaint, "1")
			n, isNoAnswer := errors.AsType[*NoAnswerError](err)
			if isNoAnswer != (tc.host != "") || isNoAnswer && (n.Host != tc.host || n.Sent != tc.sent) {
				t.Errorf("%v (%#v)", err, n)
			}
			if tc.name == "neither can" && !errors.Is(err, syscall.ECONNREFUSED) {
				t.Error(err)
			}
			r1, r2 := s1.received(), s2.received()
			if len(r1) != tc.got1 || len(r2) != tc.got2 {
				t.Fatalf("%d and %d requests, want %d and %d", len(r1), len(r2), tc.got1, tc.got2)
			}
			if len(r2) > 0 && r2[0].http.Host != "api2.mch.weixin.qq.com" {
				t.Errorf("Host: %s", r2[0].http.Host)
			}
		})
	}
}

// TestGivingUpIsNoFailure: a caller who gives up says nothing about a host.
func TestGivingUpIsNoFailure(t *testing.T) {
	t.Parallel()
	reading, release := make(chan struct{}), make(chan struct{})
	s := serve(t, func(request) []byte {
		reading <- struct{}{}
		<-release
		return nil
	})
	t.Cleanup(func() { close(release) })
	c := newTestClient(t, s, func(c *Config) { c.Hosts = []string{testHost, testHost2} })
	for range failedInARow {
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-reading
			cancel()
		}()
		if err := c.CompleteComplaint(ctx, seedComplaint, "1"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	wantOrder(t, c.hosts, false, testHost, false)
}

// TestFailoverLearns: after three calls that could not reach the first host, it is not tried any more.
func TestFailoverLearns(t *testing.T) {
	t.Parallel()
	s := serve(t, always(signed(204, "")))
	var dials atomic.Int32
	tr := newTestTransport(t, map[string]string{"api2.mch.weixin.qq.com:443": s.addr})
	dial := tr.DialContext
	tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if addr == "api.mch.weixin.qq.com:443" {
			dials.Add(1)
			return nil, syscall.ECONNREFUSED
		}
		return dial(ctx, network, addr)
	}
	c := newTestClient(t, s, func(c *Config) { c.Hosts, c.Transport = []string{testHost, testHost2}, tr })
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for range 5 {
		if err := c.CompleteComplaint(ended, seedComplaint, "1"); !errors.Is(err, context.Canceled) {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := c.CompleteComplaint(t.Context(), seedComplaint, "1"); err != nil {
			t.Fatal(err)
		}
	}
	if dials.Load() != failedInARow {
		t.Errorf("the first host was tried %d times, want %d", dials.Load(), failedInARow)
	}
	first := s.received()[0].http.Header.Get("Authorization")
	if slices.ContainsFunc(s.received(), func(r request) bool { return r.http.Header.Get("Authorization") != first }) {
		t.Error("the same call was signed differently for another host")
	}
}
