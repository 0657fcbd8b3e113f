package main

import (
	"io"
	"strings"
	"testing"
)

// Ratios are of neighbours: a machine that becomes slower in the middle of a run says nothing of the worker.
func TestRatiosAreOfNeighbours(t *testing.T) {
	var screen strings.Builder
	r, err := newReport(io.Discard, &screen, "")
	if err != nil {
		t.Fatal(err)
	}
	for _, slow := range []float64{1, 1, 4} {
		for by, speed := range map[string]float64{"bare": 9, "naive": 4, "careful": 2, "worker": 3} {
			if err := r.add("Throughput/store=synced/by="+by, figures{"cmd/s": speed / slow, "cpu-ns/cmd": slow}); err != nil {
				t.Fatal(err)
			}
		}
	}
	screen.Reset()
	r.ratios()
	if got := strings.Join(strings.Fields(screen.String()), " "); !strings.Contains(got, "/by=worker cmd/s 0.75 (0.75–0.75) cpu-ns/cmd 1.00 (1.00–1.00)") ||
		!strings.Contains(got, "/by=worker cmd/s 1.50 (1.50–1.50)") || strings.Contains(got, "naive cmd/s") {
		t.Errorf("printed %s", got)
	}
}
