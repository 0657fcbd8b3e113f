package main

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
)

// A small heap may fill its room before it is collected, a large one grows by half: whatever is in use, memory stays within that or the
// room.
func TestGarbagePercent(t *testing.T) {
	t.Parallel()
	for _, live := range []uint64{0, 1 << 20, 5 << 20, heapRoom / 3, heapRoom / 2, heapRoom, 1 << 32} {
		for _, roots := range []uint64{0, 1 << 20, 10 << 20} {
			percent := garbagePercent(live, roots)
			if goal := live + (live+roots)*uint64(percent)/100; percent < 50 || goal > max(heapRoom, live+(live+roots)/2) {
				t.Errorf("%d bytes in use, %d of roots: %d percent, up to %d bytes", live, roots, percent, goal)
			}
		}
	}
	if p := garbagePercent(6<<20, 2<<20); p < 400 {
		t.Errorf("6 MB in use: %d percent", p)
	}
}

// The room is looked at anew after each collection.
func TestGarbageFollowsWhatIsInUse(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	letGarbageGather()
	kept := make([]byte, heapRoom)
	for until := time.Now().Add(10 * time.Second); gcPercent() != 50; runtime.GC() {
		if time.Now().After(until) {
			t.Fatalf("%d percent with %d bytes in use", gcPercent(), len(kept))
		}
	}
	runtime.KeepAlive(kept)
	kept = nil
	for until := time.Now().Add(10 * time.Second); gcPercent() <= 50; runtime.GC() {
		if time.Now().After(until) {
			t.Fatalf("still %d percent with little in use", gcPercent())
		}
	}
}

func gcPercent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
