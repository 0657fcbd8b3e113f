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

// Who does not wait any longer holds nobody up.
func TestWhoGivesUpIsServedInVain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		all := together[int, int]{
			weight: func(int) int { return 1 }, most: func() int { return 10 },
			do: func(asked []int) ([]int, error) { <-goOn; return asked, nil },
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first := make(chan error, 1)
		go func() { _, err := all.ask(t.Context(), 1); first <- err }()
		synctest.Wait()
		if _, err := all.ask(ctx, 2); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("gave up with %v", err)
		}
		close(goOn)
		if n, err := all.ask(t.Context(), 3); n != 3 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
		if err := <-first; err != nil {
			t.Error(err)
		}
	})
}
