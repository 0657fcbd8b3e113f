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

// The room is looked at anew after each collection. (How much is in use beside what this test keeps, other tests decide.)
func TestGarbageFollowsWhatIsInUse(t *testing.T) {
	t.Setenv("GOGC", "")
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	letGarbageGather()
	fits := func() bool {
		roots := read("/gc/scan/stack:bytes") + read("/gc/scan/globals:bytes")
		return int(read("/gc/gogc:percent")) == garbagePercent(read("/gc/heap/live:bytes"), roots)
	}
	until := func(what string, enough func() bool) {
		t.Helper()
		for limit := time.Now().Add(10 * time.Second); !enough(); runtime.GC() {
			if time.Now().After(limit) {
				t.Fatalf("%s: %d percent with %d bytes in use", what, read("/gc/gogc:percent"), read("/gc/heap/live:bytes"))
			}
		}
	}
	kept := make([]byte, 2*heapRoom)
	until("much", func() bool { return fits() && read("/gc/heap/live:bytes") > heapRoom })
	before := read("/gc/heap/live:bytes")
	runtime.KeepAlive(kept)
	kept = nil
	until("less", func() bool { return fits() && read("/gc/heap/live:bytes") < before })
}

func read(metric string) uint64 {
	s := []metrics.Sample{{Name: metric}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}
