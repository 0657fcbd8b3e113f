package main

import (
	"cmp"
	"fmt"
	"time"

	"wxpay-worker/dlq"
	"wxpay-worker/messages"
)

type dlqListCmd struct {
	letterFilter
	output
}

// Run prints the dead letters that fit, as they are read.
func (c *dlqListCmd) Run(a *app) error {
	filter, err := c.read(time.Now())
	if err != nil {
		return err
	}
	d, err := a.deadLetters()
	if err != nil {
		return err
	}
	defer d.Close()
	p, shown, bad := printer{a.out, c.json()}, 0, 0
	for l, err := range d.Select(a.ctx, filter) {
		switch {
		case a.unreadable(err):
			bad++
			continue
		case err != nil:
			return d.explain(err)
		}
		if p.json {
			err = p.encode(newLetterJSON(l))
		} else {
			if shown == 0 {
				p.letterHeading()
			}
			err = p.letter(l)
		}
		if err != nil {
			return fmt.Errorf("print: %w", err)
		}
		shown++
	}
	if shown == 0 && !p.json {
		fmt.Fprintln(a.err, "No dead letters.")
	}
	return verdict(bad, bad+shown, "%s cannot be read", count(bad, "dead letter", "dead letters"))
}

type dlqStatsCmd struct {
	letterFilter
	output
}

// Run prints how many dead letters there are of each sort.
func (c *dlqStatsCmd) Run(a *app) error {
	filter, err := c.read(time.Now())
	if err != nil {
		return err
	}
	d, err := a.deadLetters()
	if err != nil {
		return err
	}
	defer d.Close()
	stats, err := d.Stats(a.ctx, filter)
	if err != nil && !a.unreadable(err) {
		return d.explain(err)
	}
	p := printer{a.out, c.json()}
	if p.json {
		for _, s := range stats {
			p.stat(s)
		}
	} else {
		p.stats(stats)
	}
	if err != nil {
		return verdict(1, 1+len(stats), "some dead letters cannot be read, and are not counted")
	}
	return nil
}

// stat prints a sort of dead letters as JSON.
func (p printer) stat(s *dlq.Stat) {
	p.object(struct {
		MchID  string          `json:"mchid"`
		Kind   messages.Kind   `json:"kind"`
		Reason messages.Reason `json:"reason"`
		Code   string          `json:"code"`
		Count  int             `json:"count"`
		Oldest time.Time       `json:"oldest"`
		Newest time.Time       `json:"newest"`
	}{s.MchID, s.Kind, s.Reason, s.Code, s.Count, s.Oldest.UTC(), s.Newest.UTC()})
}

// stats prints the table.
func (p printer) stats(stats []*dlq.Stat) {
	if len(stats) == 0 {
		fmt.Fprintln(p.w, "No dead letters.")
		return
	}
	const line = "%-10s  %-8s  %-10s  %-22s  %8v  %-20s  %s\n"
	fmt.Fprintf(p.w, line, "MERCHANT", "KIND", "REASON", "CODE", "COUNT", "OLDEST", "NEWEST")
	total := 0
	for _, s := range stats {
		fmt.Fprintf(p.w, line, s.MchID, s.Kind, s.Reason, visible(cmp.Or(s.Code, "-")), s.Count, s.Oldest.UTC().Format(time.RFC3339), s.Newest.UTC().Format(time.RFC3339))
		total += s.Count
	}
	fmt.Fprintln(p.w, count(total, "dead letter", "dead letters"))
}
