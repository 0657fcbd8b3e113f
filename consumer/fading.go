package consumer

import "time"

// fading remembers each value for a certain time at least, and for twice that at most: it forgets many at once, and so keeps no time-stamps.
// Its user locks it.
type fading[K comparable, V any] struct {
	lasts      time.Duration // for how long values are remembered, at least
	now        func() time.Time
	turned     time.Time // when young was begun
	old, young map[K]V   // what is in young is newer than what is in old
}

// get returns what was put last, if that is remembered.
func (f *fading[K, V]) get(k K) (V, bool) {
	f.turn()
	if v, known := f.young[k]; known {
		return v, true
	}
	v, known := f.old[k]
	return v, known
}

func (f *fading[K, V]) put(k K, v V) {
	f.turn()
	f.young[k] = v
}

func (f *fading[K, V]) delete(k K) {
	delete(f.old, k)
	delete(f.young, k)
}

func (f *fading[K, V]) turn() {
	now := f.now()
	age := now.Sub(f.turned)
	if f.young != nil && age < f.lasts {
		return
	}
	if f.old = f.young; age >= 2*f.lasts {
		f.old = nil
	}
	f.young, f.turned = map[K]V{}, now // not cleared: a map does not give back what it once held
}
