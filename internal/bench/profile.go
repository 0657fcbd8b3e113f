package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// profiled fetches profiles of the worker and of the NATS server while do runs, and leaves them in -profile's folder, named after
// the row. Without that flag it only runs do.
func (b *bench) profiled(ctx context.Context, row, worker, server string, do func() error) error {
	if b.profiles == "" || worker == "" {
		return do()
	}
	name := strings.NewReplacer("/", "_", "=", "-").Replace(row)
	fetched := make(chan error, 2)
	for who, address := range map[string]string{"worker": worker, "nats": server} {
		go func() { // ends with the profile
			fetched <- fetchProfile(ctx, address, b.window, filepath.Join(b.profiles, name+"_"+who+".pprof"))
		}()
	}
	err := do()
	for range cap(fetched) {
		if failed := <-fetched; err == nil {
			err = failed
		}
	}
	return err
}

// heap fetches what the worker has in memory.
func (b *bench) heap(ctx context.Context, when string, w *process) error {
	if b.profiles == "" {
		return nil
	}
	return fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/heap?gc=1", w.pprof), filepath.Join(b.profiles, "Memory_"+when+".pprof"))
}

func fetchProfile(ctx context.Context, address string, window time.Duration, file string) error {
	return fetch(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", address, max(1, int(window/time.Second))), file)
}

func fetch(ctx context.Context, url, file string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("fetch profile: %w", err)
	}
	defer answer.Body.Close()
	profile, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch profile: HTTP %d %w", answer.StatusCode, err)
	}
	return os.WriteFile(file, profile, 0o644)
}
