package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// What WeChat Pay says at this moment, asked for with a merchant's own keys. How it looks is in live_text.go.

// inquiry asks WeChat Pay in the name of one merchant. It only reads, a few times: the fleet's quotas do not count it.
type inquiry struct{ consumer.Merchant }

// openInquiry reads the keys of the merchant, who may be "" if there is only one. The error is a *exitError about the configuration
// or about mchid.
func (a *app) openInquiry(c *Config, mchid string) (*inquiry, error) {
	at, err := c.merchantNamed(mchid)
	if err != nil {
		return nil, err
	}
	keys := c.readMerchant(fmt.Sprintf("merchants[%d]", at), &c.Merchants[at])
	if err := c.err(); err != nil {
		return nil, err
	}
	roots, err := c.wechatPayRoots()
	if err != nil {
		return nil, err
	}
	log := quiet(a.err)
	c.warn(log)
	merchants, err := newMerchants(c, []credentials{keys}, roots, log)
	if err != nil {
		return nil, err
	}
	return &inquiry{merchants[0]}, nil
}

// merchantNamed returns where in the configuration the merchant is.
func (c *Config) merchantNamed(mchid string) (at int, err error) {
	if len(c.Merchants) == 0 {
		return 0, noMerchants(c)
	}
	if mchid == "" && len(c.Merchants) == 1 {
		return 0, nil
	}
	at = slices.IndexFunc(c.Merchants, func(m MerchantConfig) bool { return m.MchID == mchid })
	switch {
	case mchid == "":
		return 0, usageError("--mchid: expected one of the %d merchants of the configuration", len(c.Merchants))
	case at < 0:
		return 0, usageError("--mchid: expected a merchant of the configuration")
	}
	return at, nil
}

// complaintView is a complaint without what is never shown: the payer's phone number and openid. Its JSON names are WeChat Pay's.
type complaintView struct {
	MchID     string               `json:"mchid"`
	Complaint complaintFields      `json:"complaint"`
	History   []wxpay.HistoryEntry `json:"negotiation_history"` // oldest first
}

// complaintFields hides payer_phone, encrypted or not, from JSON. payer_openid is not even read.
type complaintFields struct {
	wxpay.Complaint
	PayerPhone *struct{} `json:"payer_phone,omitempty"`
}

// complaint reads a complaint and all of its history.
func (q *inquiry) complaint(ctx context.Context, id string) (*complaintView, error) {
	detail, err := q.Complaints.Complaint(ctx, id)
	if err != nil {
		return nil, q.explain(err, "complaint "+id, "")
	}
	detail.PayerPhone = ""
	history, err := q.history(ctx, id)
	if err != nil {
		return nil, q.explain(err, "the history of complaint "+id, "")
	}
	return &complaintView{MchID: q.MchID, Complaint: complaintFields{Complaint: *detail}, History: history}, nil
}

func (q *inquiry) history(ctx context.Context, id string) ([]wxpay.HistoryEntry, error) {
	return wxpay.ReadHistory(func(limit, offset int) (*wxpay.NegotiationHistory, error) {
		return q.Complaints.NegotiationHistory(ctx, id, limit, offset)
	})
}

// refundView is a refund. Its JSON names are WeChat Pay's, those of v3 also for merchants who refund by v2.
type refundView struct {
	MchID    string       `json:"mchid"`
	SubMchID string       `json:"sub_mchid,omitempty"`
	Refund   wxpay.Refund `json:"refund"`
}

// refund asks for a refund by the merchant's number. subMchID is the sub-merchant in provider mode, else "".
func (q *inquiry) refund(ctx context.Context, outRefundNo, subMchID string) (*refundView, error) {
	r, err := q.Refunds.QueryRefund(ctx, outRefundNo, subMchID)
	if err != nil {
		return nil, q.explain(err, "refund "+outRefundNo, " (one of the last minute may not show yet)")
	}
	return &refundView{MchID: q.MchID, SubMchID: subMchID, Refund: *r}, nil
}

// explain says what it means that WeChat Pay did not show something. perhaps is added if it provably is not there.
func (q *inquiry) explain(err error, what, perhaps string) error {
	if e, ok := errors.AsType[*wxpay.ArgumentError](err); ok {
		return usageError("%s: %s", e.Name, e.Rule)
	}
	e, ok := errors.AsType[*wxpay.Error](err)
	if !ok || !e.Proven {
		return fmt.Errorf("read %s: %w", what, err)
	}
	said := err
	if e.Message != "" {
		said = fmt.Errorf("%s: %w", e.Message, err)
	}
	if errors.Is(err, wxpay.ErrResourceNotExists) || errors.Is(err, wxpay.ErrV2RefundNotExist) {
		return fmt.Errorf("WeChat Pay does not have %s of merchant %s%s: %w", what, q.MchID, perhaps, said)
	}
	// What an unknown complaint is answered with is not documented: PARAM_ERROR, perhaps. Another merchant's is NO_AUTH.
	return fmt.Errorf("WeChat Pay does not show %s to merchant %s: %w", what, q.MchID, said)
}
