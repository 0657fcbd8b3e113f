// Package consumer carries out commands: it takes them from JetStream, makes the calls at WeChat Pay that they ask for, records
// what became of them in the outcome stream, and only then acknowledges them.
//
// # Promises
//
// Every command ends once: in a final outcome, or in one dead letter with a `failed` outcome. A refund number is never
// changed; whatever may have happened already is asked about before it is repeated. Nothing is acknowledged before the stream
// has confirmed its record. Nothing unproven ends a command. A lane's trouble is its own.
//
// # One delivery
//
//	   ┌────────────────────────── redelivery ───────────────────────────┐
//	   ▼                                                                 │
//	decode ─► validate ─► ledger ─► (begun before? read back) ─► call ─► classify
//	   │          │          │                 │                          │  │
//	   │          │       ended before      it happened                done  │ definite no,
//	   ▼          ▼          │                 │                          │  │ tries ran out
//	malformed ────┤          │                 ▼                          │  │
//	              │          │            publish outcome ◄───────────────┘  │
//	              ▼          │                 │ confirmed                   │
//	         dead letter ◄───┼─────────────────┼─────────────────────────────┘
//	              │ confirmed│                 │
//	          `failed`       │                 │
//	              │ confirmed│                 │
//	              ▼          ▼                 ▼
//	            +TERM       +ACK             +ACK
//
// A process may die between any two of these. What a restart finds there is said in a comment at the place, and each of those
// places has a test.
//
// # Lanes
//
// Each merchant has two lanes, refunds and complaints. A lane is one durable pull consumer, pinned: the server lets one worker
// of the fleet serve it at a time and gives it to another when that one stops pulling. So a quota kept by the one who serves
// the lane holds for the fleet. Since a server may give a lane away without the former one hearing of it, calls are made only
// within a second after the lane was last known to be ours, and whoever takes one waits for twice as long. A lane whose
// trouble is its own (credentials, permission, balance, an outage) is held: its consumer is paused on the server, its commands
// wait uncounted, and one at a time is let through until one succeeds.
//
// Commands about one complaint, or with one refund number, are carried out in the order of the stream, also while one of them is
// in back-off. Who takes a lane over reads from the streams what is unfinished and what was refunded a moment ago before it
// begins anything.
//
// # Settlement
//
// An accepted refund is followed by query until the money has arrived or WeChat Pay has closed it. It waits as a message
// schedule in the settlements stream, which is written before `accepted`, which is written before the acknowledgement. Refunds
// of one merchant that are accepted while a schedule is being written share the next one.
//
// # The ledger
//
// The newest message under <prefix>.outcome.<mchid>.<kind>.<key>.* says what has become of a command. It is read before a
// call, and every record is written on the condition that it is still the newest, so that of several writers one wins.
// Complaint calls, which WeChat Pay does not deduplicate, are announced there as `started`; only the writer of the newest
// `started` sends, and only within a time that ends before others may go on.
//
// # Limits
//
// A process that is stopped (not killed) between its last check of the time and the call, for longer than ack_wait, may send
// after another has gone on: the one window in which a complaint reply can appear twice. A lane keeps at most 10,000 commands
// in back-off and then stands still. Memory is bounded by the commands in back-off, not by the backlog.
//
// # Use
//
//	if err := consumer.EnsureStreams(ctx, nc, consumer.Streams{Subjects: subjects, Replicas: 3, …}); err != nil { … }
//	letters, err := dlq.New(nc, subjects)
//	c, err := consumer.New(consumer.Options{
//		Conn: nc, Subjects: subjects, DeadLetters: letters, Log: log,
//		Merchants: []consumer.Merchant{{MchID: "1900000001", Refunds: client, Complaints: client}},
//		Concurrency: 64, AckWait: time.Minute, PinnedTTL: 15 * time.Second, Drain: 25 * time.Second,
//		Retry:      consumer.Retry{Initial: 2 * time.Second, Multiplier: 2, Max: time.Hour, Jitter: 0.2, MaxAttempts: 25, MaxAge: 72 * time.Hour},
//		Settlement: consumer.Settlement{First: time.Minute, Max: 6 * time.Hour, GiveUp: 360 * time.Hour},
//	})
//	err = c.Run(ctx) // until ctx ends, then drains
package consumer
