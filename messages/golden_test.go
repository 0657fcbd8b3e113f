package messages

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files instead of comparing with them")

// golden compares got with a file below testdata.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\ngot  %s\nwant %s", path, got, want)
	}
}

// wire shows a message as text: headers sorted by name, an empty line, the body.
func wire(h Header, body []byte) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(h)) {
		for _, v := range h[name] {
			b.WriteString(name + ": " + v + "\n")
		}
	}
	return b.String() + "\n" + string(body) + "\n"
}

// sample is a command below testdata/commands.
type sample struct {
	name string
	kind Kind
	data []byte
}

// samples returns every command that must decode.
func samples(t testing.TB) []sample {
	t.Helper()
	paths, err := filepath.Glob("testdata/commands/*.json")
	if err != nil || len(paths) < 12 {
		t.Fatalf("found %d sample commands, %v", len(paths), err)
	}
	var all []sample
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(path), ".json")
		kind, _, _ := strings.Cut(name, "-")
		all = append(all, sample{name, Kind(kind), data})
	}
	return all
}

// mustDecode decodes a command that is good.
func mustDecode(t testing.TB, k Kind, data string) Command {
	t.Helper()
	c, err := DecodeCommand(k, "1900000001", nil, []byte(data))
	if err != nil {
		t.Fatalf("decode %s: %v", data, err)
	}
	return c
}
