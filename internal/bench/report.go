package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// report collects figures, prints each as a line that benchstat reads, and at the end a table of medians.
//
// Source: Go benchmark data format, https://go.googlesource.com/proposal/+/master/design/14313-benchmark-format.md
type report struct {
	text   io.Writer // for benchstat
	screen io.Writer
	names  []string // in the order of their first figure
	by     map[string]map[string][]float64
}

// figures are what one measurement found, by unit.
type figures map[string]float64

// units are those that a higher figure is better in; of all others a lower one is.
var units = []string{"cmd/s"}

func newReport(text, screen io.Writer, header string) (*report, error) {
	r := &report{text: text, screen: screen, by: map[string]map[string][]float64{}}
	for line := range strings.Lines(header) {
		if err := r.write("%s", line); err != nil {
			return nil, err
		}
	}
	for _, unit := range units {
		if err := r.write("Unit %s better=higher\n", unit); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *report) write(format string, args ...any) error {
	_, err := fmt.Fprintf(r.text, format, args...)
	return err
}

// add notes one measurement. name is in the manner of sub-benchmarks, kind/key=value/….
func (r *report) add(name string, f figures) error {
	line := "Benchmark" + name + " 1"
	for _, unit := range slices.Sorted(maps.Keys(f)) {
		if r.by[name] == nil {
			r.names, r.by[name] = append(r.names, name), map[string][]float64{}
		}
		r.by[name][unit] = append(r.by[name][unit], f[unit])
		line += " " + strconv.FormatFloat(f[unit], 'g', 5, 64) + " " + unit
	}
	fmt.Fprintln(r.screen, line)
	return r.write("%s\n", line)
}

// median of a figure; 0 if it was not measured.
func (r *report) median(name, unit string) float64 {
	all := slices.Sorted(slices.Values(r.by[name][unit]))
	if len(all) == 0 {
		return 0
	}
	return all[len(all)/2]
}

// table prints medians and, where a figure was taken several times, the range around them.
func (r *report) table() {
	section := ""
	for _, name := range r.names {
		kind, row, _ := strings.Cut(name, "/")
		if kind != section {
			section = kind
			fmt.Fprintf(r.screen, "\n%s\n", kind)
		}
		fmt.Fprintf(r.screen, "  %-48s", row)
		for _, unit := range slices.Sorted(maps.Keys(r.by[name])) {
			all := slices.Sorted(slices.Values(r.by[name][unit]))
			fmt.Fprintf(r.screen, "  %s", human(r.median(name, unit), unit))
			if len(all) > 1 {
				fmt.Fprintf(r.screen, " (%s–%s)", human(all[0], ""), human(all[len(all)-1], ""))
			}
		}
		fmt.Fprintln(r.screen)
	}
}

// ratios prints how the other rows compare with the naive consumer's, and the worker's with the careful one's: the median, and the range, of what
// each pair of neighbouring measurements says. On a machine that others use, too, that holds when the figures themselves do not.
func (r *report) ratios() {
	r.ratiosTo(byNaive)
	r.ratiosTo(byCareful)
}

func (r *report) ratiosTo(base string) {
	title := fmt.Sprintf("\nTo %s, measured just before", base)
	for _, name := range r.names {
		row, by, _ := strings.Cut(name, "/by=")
		of := row + "/by=" + base
		if by == base || by == byNaive || r.by[of] == nil {
			continue
		}
		line := fmt.Sprintf("  %-60s", name)
		for _, unit := range slices.Sorted(maps.Keys(r.by[name])) {
			if all := ratiosOf(r.by[name][unit], r.by[of][unit]); len(all) > 0 {
				line += fmt.Sprintf("  %s %.2f (%.2f–%.2f)", unit, all[len(all)/2], all[0], all[len(all)-1])
			}
		}
		if title != "" {
			fmt.Fprintln(r.screen, title)
		}
		fmt.Fprintln(r.screen, line)
		title = ""
	}
}

// ratiosOf are the ratios of figures that were taken in turn, in ascending order.
func ratiosOf(figures, bases []float64) (all []float64) {
	for i := range min(len(figures), len(bases)) {
		if bases[i] > 0 {
			all = append(all, figures[i]/bases[i])
		}
	}
	slices.Sort(all)
	return all
}

func human(v float64, unit string) string {
	digits := 0
	switch {
	case v == 0:
	case v < 1:
		digits = 3
	case v < 100:
		digits = 2
	}
	return strings.TrimSpace(strconv.FormatFloat(v, 'f', digits, 64) + " " + unit)
}
