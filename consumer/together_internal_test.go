package consumer

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// Who asks alone is served at once and alone; those who ask while somebody is being served are served together, as many as may be, each
// with what came of his own.
func TestThoseWhoWaitAreServedTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var rounds [][]int
		goOn := make(chan error)
		all := together[int, string]{
			weight: func(n int) int { return n }, most: func() int { return 10 },
			do: func(asked []int) (answers []string, err error) {
				rounds = append(rounds, slices.Clone(asked))
				for _, n := range asked {
					answers = append(answers, strconv.Itoa(n))
				}
				return answers, <-goOn
			},
		}
		var said sync.Map
		ask := func(n int) {
			go func() {
				answer, err := all.ask(t.Context(), n)
				if err != nil {
					answer = err.Error()
				}
				said.Store(n, answer)
			}()
			synctest.Wait()
		}
		for _, n := range []int{1, 4, 5, 2, 30, 3} { // 1 alone; 4 and 5 fit, 2 does not any more; 30 never does
			ask(n)
		}
		for range 5 {
			goOn <- nil
			synctest.Wait()
		}
		ask(6)
		goOn <- errors.New("refused")
		synctest.Wait()
		if want := [][]int{{1}, {4, 5}, {2}, {30}, {3}, {6}}; !slices.EqualFunc(rounds, want, slices.Equal) {
			t.Errorf("served %v, want %v", rounds, want)
		}
		close(goOn)
		synctest.Wait()
		for n, want := range map[int]string{1: "1", 4: "4", 5: "5", 2: "2", 30: "30", 3: "3", 6: "refused"} {
			if got, _ := said.Load(n); got != want {
				t.Errorf("%d was told %q", n, got)
			}
		}
	})
}

// Who does not wait any longer holds nobody up, and what he asked for is not done any more.
func TestWhoGivesUpIsNotServed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var served []int
		goOn := make(chan struct{})
		all := together[int, int]{
			weight: func(int) int { return 1 }, most: func() int { return 10 },
			do: func(asked []int) ([]int, error) { served = append(served, asked...); <-goOn; return asked, nil },
		}
		told := make(chan error, 3)
		for _, n := range []int{1, 2, 3, 4} { // 1 is being served, 3 gives up
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if n == 3 {
				ctx, cancel = context.WithTimeout(ctx, time.Second)
			}
			go func() {
				defer cancel()
				got, err := all.ask(ctx, n)
				if gaveUp := errors.Is(err, context.DeadlineExceeded); gaveUp != (n == 3) || !gaveUp && got != n {
					t.Errorf("%d was told %d, %v", n, got, err)
				}
				told <- err
			}()
			synctest.Wait()
		}
		<-told
		close(goOn)
		for range 3 {
			<-told
		}
		if !slices.Equal(served, []int{1, 2, 4}) {
			t.Errorf("served %v", served)
		}
	})
}
