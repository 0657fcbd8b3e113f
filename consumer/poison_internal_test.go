package consumer

import "testing"

// A mark of our own is no death, whenever we read it: we are alive. Another's is one, however often it is read.
func TestAMarkIsADeathOfItsWorker(t *testing.T) {
	ours := suspicion{worker: "us", deaths: map[uint64]int{}}
	metadata := map[string]string{}
	ours.write(metadata, 7)
	for range 3 {
		ours.adopt(metadata)
	}
	if n := ours.died(7); n != 0 {
		t.Errorf("%d deaths while we live", n)
	}
	theirs := suspicion{worker: "them", deaths: map[uint64]int{}}
	for range 3 {
		theirs.adopt(metadata)
	}
	if n := theirs.died(7); n != 1 {
		t.Errorf("%d deaths after one", n)
	}
	theirs.write(metadata, 0)
	if metadata[aloneMetadata] != "7:us" || metadata[deathsMetadata] != "7:1" {
		t.Errorf("another's mark was taken away: %v", metadata)
	}
	ours.write(metadata, 0)
	if metadata[aloneMetadata] != "" {
		t.Errorf("metadata %v", metadata)
	}
}

// A command that this process has handed back, however often, is no suspect: it has killed nobody. One that was delivered as often and never
// answered is.
func TestWhatIsAnsweredIsNoSuspect(t *testing.T) {
	s := suspicion{answered: map[uint64]bool{}, deaths: map[uint64]int{}}
	for n := range uint64(10) {
		d := &delivery{sequence: 7, delivered: n + 1}
		if s.suspected(d) {
			t.Errorf("suspected at delivery %d", d.delivered)
		}
		s.note(&job{delivery: d, sequence: d.sequence}, again("waits", 0, nil))
	}
	for n := range uint64(suspectAfter + 1) {
		if d := (&delivery{sequence: 8, delivered: n + 1}); s.suspected(d) != (d.delivered > suspectAfter) {
			t.Errorf("never answered, delivery %d: suspected is %t", d.delivered, s.suspected(d))
		}
	}
}
