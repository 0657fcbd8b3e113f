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

// Wall is how long d of this clock takes on the wall clock.
func (c *Clock) Wall(d time.Duration) time.Duration {
	if c == nil {
		return d
	}
	return d / time.Duration(c.speed)
}
