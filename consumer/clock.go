package consumer

import (
	"math"
	"time"
)

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

// moment is a time in a third of its memory, for what a hundred thousand commands keep: nanoseconds from when the process began. The zero
// moment is none. The monotonic clock counts them, so that what was a minute ago stays a minute ago when the wall clock is set.
type moment int64

var processBegan = time.Now()

// moment is the moment now.
func (c *Clock) moment() moment { return moment(c.Now().Sub(processBegan)) }

// momentOf is a time as a moment; none for the zero time. A time that somebody else has noted counts from the wall clock as it is set now.
func (c *Clock) momentOf(t time.Time) moment {
	if t.IsZero() {
		return 0
	}
	now := c.Now()
	return moment(now.Sub(processBegan) - now.Sub(t))
}

// timeOf is a moment as a time; the zero time for none.
func (c *Clock) timeOf(m moment) time.Time {
	if m == 0 {
		return time.Time{}
	}
	now := c.Now()
	return now.Add(time.Duration(m) - now.Sub(processBegan))
}

// since is how long ago a moment was; longer than anything if there is none.
func (c *Clock) since(m moment) time.Duration {
	if m == 0 {
		return math.MaxInt64
	}
	return time.Duration(c.moment() - m)
}

// Wall is how long d of this clock takes on the wall clock.
func (c *Clock) Wall(d time.Duration) time.Duration {
	if c == nil {
		return d
	}
	return d / time.Duration(c.speed)
}
