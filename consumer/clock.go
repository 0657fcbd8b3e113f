package consumer

import "time"

// Clock tells the worker the time. The nil Clock is the wall clock.
//
// A test may run one faster: a rule of 60 seconds then holds in the time that the worker, and a simulator with the same
// clock, see, while the test takes milliseconds. Durations that the NATS server keeps for us are translated by Wall.
type Clock struct {
	start time.Time
	speed int64
}

// FastClock returns a clock that starts now and runs speed times as fast as the wall clock.
func FastClock(speed int64) *Clock { return &Clock{start: time.Now(), speed: speed} }

// Now is the time by this clock.
func (c *Clock) Now() time.Time { return c.At(time.Now()) }

// At translates an instant of the wall clock, such as the time at which the server stored a message.
func (c *Clock) At(wall time.Time) time.Time {
	if c == nil {
		return wall
	}
	return c.start.Add(wall.Sub(c.start) * time.Duration(c.speed))
}

// moment is a time in a third of its memory, for what a hundred thousand commands keep: nanoseconds from when the process began, by the
// monotonic clock where the time has a reading of it. The zero moment is none.
type moment int64

var processBegan = time.Now()

// momentOf is the time as a moment; none for the zero time. Times before 1734 and after 2318 are as these.
func momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	return moment(t.Sub(processBegan))
}

// time is the moment as a time again; the zero time if there is none.
func (m moment) time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return processBegan.Add(time.Duration(m))
}

// since is how long ago a moment was; long if there is none.
func (c *Clock) since(m moment) time.Duration { return c.Now().Sub(m.time()) }

// Wall is how long d of this clock takes on the wall clock.
func (c *Clock) Wall(d time.Duration) time.Duration {
	if c == nil {
		return d
	}
	return d / time.Duration(c.speed)
}
