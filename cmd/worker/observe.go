package main

import (
	"context"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
)

// observer is told of deliveries and of the calls that they lead to.
type observer interface {
	consumer.Observer
	calls.Observer
}

// observers tells several. Contexts nest: each finds in the context what it put there.
type observers []observer

// ofDeliveries is nil if there are none.
func (o observers) ofDeliveries() consumer.Observer {
	if len(o) == 0 {
		return nil
	}
	return o
}

// ofCalls is nil if there are none: then nothing stands between lanes and clients.
func (o observers) ofCalls() calls.Observer {
	if len(o) == 0 {
		return nil
	}
	return o
}

func (o observers) Begin(ctx context.Context, d consumer.Delivery) context.Context {
	for _, one := range o {
		ctx = one.Begin(ctx, d)
	}
	return ctx
}

func (o observers) End(ctx context.Context, d consumer.Delivery, r consumer.Result) {
	for _, one := range o {
		one.End(ctx, d, r)
	}
}

func (o observers) BeginCall(ctx context.Context, c calls.Call) context.Context {
	for _, one := range o {
		ctx = one.BeginCall(ctx, c)
	}
	return ctx
}

func (o observers) EndCall(ctx context.Context, c calls.Call, a calls.Answer) {
	for _, one := range o {
		one.EndCall(ctx, c, a)
	}
}
