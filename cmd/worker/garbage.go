package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

// By default the garbage collector runs whenever the heap has doubled. A worker keeps a few MB and makes some hundred MB of garbage a
// second at full load: collecting at twice a few MB cost it a fifth of its processor time (measured, v2). So the collector waits until
// the heap has heapRoom; and where more than that is in use, as with many commands in back-off, until the heap has grown by half, since
// then memory counts for more than the collector's time.
//
// A fixed GOMEMLIMIT with the collector off would not do: what is in use may exceed any limit, and the collector would then run without end.

// heapRoom is how far the heap may grow, in bytes, before anything is collected. With it, the program and its stacks take well under 100 MB.
const heapRoom = 40 << 20

// leastGarbage is how much may gather in any case, in percent of what is in use. Half as much, with 100,000 commands in back-off, saved 10 MB,
// and took 17 % of the processors for collecting instead of 10.5 % (measured).
const leastGarbage = 50

// letGarbageGather makes the collector wait like that from now on, unless the environment says when to collect (GOGC).
func letGarbageGather() {
	if os.Getenv("GOGC") != "" {
		return
	}
	seen := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"}}
	// The end of each collection is seen by an object that it collects.
	type canary struct{ _ *canary }
	var adjust func(struct{})
	adjust = func(struct{}) {
		metrics.Read(seen)
		debug.SetGCPercent(garbagePercent(seen[0].Value.Uint64(), seen[1].Value.Uint64()+seen[2].Value.Uint64()))
		runtime.AddCleanup(new(canary), adjust, struct{}{})
	}
	adjust(struct{}{})
}

// garbagePercent is how much garbage may gather beside so many bytes in use, in percent of them and of the roots from which they are found,
// as GOGC counts it. A heap that has never been collected may grow to that percentage of 4 MB.
//
// Source: Go, package runtime, GOGC, and src/runtime/mgcpacer.go (heapMinimum), Go 1.26.
func garbagePercent(live, roots uint64) int {
	const most = heapRoom * 100 / (4 << 20)
	if live >= heapRoom {
		return leastGarbage
	}
	if live+roots == 0 {
		return most
	}
	return min(most, max(leastGarbage, int((heapRoom-live)*100/(live+roots))))
}
