package consumer

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestRefundsOfOneOrderAreAMinuteApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpacing(nil)
		if wait := s.claim(orderNumbers("T1", ""), "R1"); wait != 0 {
			t.Errorf("first: %s", wait)
		}
		time.Sleep(5 * time.Second)
		s.called(orderNumbers("T1", "O1"), "R1") // the answer names both
		time.Sleep(20 * time.Second)
		if wait := s.claim(orderNumbers("", "O1"), "R2"); wait != 40*time.Second {
			t.Errorf("second, by the other number: %s", wait)
		}
		if wait := s.claim(orderNumbers("", "O2"), "R3"); wait != 0 {
			t.Errorf("another order: %s", wait)
		}
		s.release(orderNumbers("", "O2")) // refused: nothing came about
		if wait := s.claim(orderNumbers("", "O2"), "R3"); wait != 0 {
			t.Errorf("after a refusal: %s", wait)
		}
		time.Sleep(40 * time.Second)
		if wait := s.claim(orderNumbers("T1", "O1"), "R2"); wait != 0 {
			t.Errorf("a minute later: %s", wait)
		}
	})
}

// Who takes a lane over does not know which of an order's refunds was called for last: each waits for the others, none for itself.
func TestInheritedRefundsWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, order := newSpacing(nil), orderNumbers("T1", "")
		s.inherited(time.Now(), order, "R1")
		if wait := s.claim(order, "R1"); wait != 0 {
			t.Errorf("the only one there was waits %s for itself", wait)
		}
		s.inherited(time.Now(), order, "R1")
		s.inherited(time.Now(), order, "R2")
		s.inherited(time.Now(), order, "R1")
		for _, number := range []string{"R1", "R2", "R3"} {
			if wait := s.claim(order, number); wait != time.Minute {
				t.Errorf("%s waits %s, want a minute", number, wait)
			}
		}
	})
}

// An order is remembered for its whole minute, also where most of what was noted with it is forgotten meanwhile.
func TestSpacingRemembersForAWholeMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, order, taken := newSpacing(nil), orderNumbers("T1", ""), orderNumbers("T2", "")
		s.claim(orderNumbers("T0", ""), "R0")
		time.Sleep(50 * time.Second)
		s.called(order, "R1")
		s.claim(taken, "R3")
		time.Sleep(20 * time.Second)
		if wait := s.claim(order, "R2"); wait != 40*time.Second {
			t.Errorf("20 seconds later: %s", wait)
		}
		s.release(taken) // refused: nothing came about
		if wait := s.claim(taken, "R4"); wait != 0 {
			t.Errorf("after a refusal: %s", wait)
		}
	})
}

// Who takes a lane over waits for what may have been called for within a minute, not for what is remembered beyond it.
func TestInheritedRefundsDoNotWaitForOldOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, order := newSpacing(nil), orderNumbers("T1", "")
		s.called(order, "R1")
		time.Sleep(61 * time.Second)
		s.inherited(time.Now(), order, "R2")
		if wait := s.claim(order, "R2"); wait != 0 {
			t.Errorf("the only one there was waits %s for itself", wait)
		}
	})
}

// A minute's orders cost little, and nothing when the minute is over.
func TestSpacingForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSpacing(nil)
		for i := range 1000 {
			order := orderNumbers("T"+strconv.Itoa(i), "O"+strconv.Itoa(i))
			s.claim(order, "R")
			s.called(order, "R")
			time.Sleep(10 * time.Millisecond)
		}
		if len(s.by.young) != 2000 || len(s.by.old) != 0 {
			t.Errorf("%d and %d numbers within the minute", len(s.by.young), len(s.by.old))
		}
		for range 2 {
			time.Sleep(time.Minute)
			s.claim(orderNumbers("T", ""), "R")
		}
		if len(s.by.young) != 1 || len(s.by.old) != 1 {
			t.Errorf("%d and %d numbers two minutes later", len(s.by.young), len(s.by.old))
		}
	})
}
