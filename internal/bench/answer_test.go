package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"wxpay-worker/wxpay"
)

// What the answering side says must prove to package wxpay, or the run would measure refusals.
func TestAnswers(t *testing.T) {
	dir := t.TempDir()
	if err := newInstallation(dir); err != nil {
		t.Fatal(err)
	}
	files, err := readInstallation(dir)
	if err != nil {
		t.Fatal(err)
	}
	a := newAnswerer(files)
	listener, err := a.listen(files.server)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for _, api := range []string{apiV3, apiV2} {
		client, err := files.client(api, merchantID(0), listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		number := refundNumber(storyPaid, 1)
		if created, err := client.CreateRefund(t.Context(), refundOf(number)); err != nil || created.Status != wxpay.RefundProcessing {
			t.Errorf("%s: %+v, %v", api, created, err)
		}
		query := client.(interface {
			QueryRefund(ctx context.Context, outRefundNo, subMchID string) (*wxpay.Refund, error)
		}).QueryRefund
		if found, err := query(t.Context(), number, ""); err != nil || found.Status != wxpay.RefundSuccess {
			t.Errorf("%s: %+v, %v", api, found, err)
		}
		if _, err := query(t.Context(), refundNumber(storyRefused, 1), ""); !errors.Is(err, wxpay.ErrResourceNotExists) && !errors.Is(err, wxpay.ErrV2RefundNotExist) {
			t.Errorf("%s: a refused refund is not there: %v", api, err)
		}
		for story, code := range map[string]map[string]string{
			storyRefused:  {apiV3: "INVALID_REQUEST", apiV2: "INVALID_REQUEST"},
			storyThrottle: {apiV3: "FREQUENCY_LIMITED", apiV2: "FREQUENCY_LIMITED"},
			storyDenied:   {apiV3: "SIGN_ERROR", apiV2: "SIGNERROR"},
		} {
			_, err := client.CreateRefund(t.Context(), refundOf(refundNumber(story, 1)))
			refusal, ok := errors.AsType[*wxpay.Error](err)
			if !ok || refusal.Code != code[api] {
				t.Errorf("%s, %s: %v", api, story, err)
			}
		}
	}
	seen := a.take()
	if seen.Creates != 8 || seen.Queries != 4 || seen.Stories[storyPaid].P50 <= 0 || seen.Stories[storyPaid].Max > time.Minute {
		t.Errorf("seen: %+v", seen)
	}
}
