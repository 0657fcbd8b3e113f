package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"wxpay-worker/internal/natsembed"
)

// storeError says that the embedded server's store takes nothing more, and that only a new start makes it.
type storeError struct{ err error }

func (e *storeError) Error() string {
	return fmt.Sprintf("nats.embedded.dir: the store takes nothing more until the worker is started anew: %v (is the disk full? may this user write there?)", e.err)
}

func (e *storeError) Unwrap() error { return e.err }

// storeFailure is why a context of whileStored ended, if it was the store.
func storeFailure(ctx context.Context) error {
	if e, ok := errors.AsType[*storeError](context.Cause(ctx)); ok {
		return e
	}
	return nil
}

// storePause is the time between two looks at the embedded store.
const storePause = 2 * time.Second

// whileStored returns a context that ends with ctx, and also when the embedded server's store takes nothing more: then the worker drains,
// ends, and is started anew (what was confirmed is on the disk, and what was not is asked about). done ends the watching and waits for that;
// call it before the server is shut down. own is nil where the server is not ours.
func (m *monitor) whileStored(ctx context.Context, own *natsembed.Server) (watched context.Context, done func()) {
	ctx, end := context.WithCancelCause(ctx)
	if own == nil {
		return ctx, func() { end(nil) }
	}
	m.health.store.Store(own)
	var watching sync.WaitGroup
	watching.Go(func() {
		failed := false
		for look := time.NewTicker(storePause); ; {
			select {
			case <-look.C:
			case <-ctx.Done():
				look.Stop()
				return
			}
			err := own.Failure()
			if err != nil && failed { // the first time it may be a stream that is just being made
				failure := &storeError{err}
				m.log.WithError(err).Error("the embedded NATS server's store takes nothing more; draining, to be started anew")
				end(failure)
				return
			}
			failed = err != nil
		}
	})
	return ctx, func() {
		end(nil)
		watching.Wait()
	}
}
