package main

// showCmd shows what WeChat Pay says at this moment. It needs the merchant's keys, and no NATS.
type showCmd struct {
	Complaint showComplaintCmd `cmd:"" help:"A complaint: its state, orders, and all that was said and done about it."`
	Refund    showRefundCmd    `cmd:"" help:"A refund: its state, amounts and times."`

	MchID string `name:"mchid" placeholder:"MCHID" help:"The merchant; needed if the configuration has several."`
	output
}

type showComplaintCmd struct {
	ID string `arg:"" name:"complaint-id" help:"WeChat Pay's number of the complaint."`
}

// Help is printed by --help.
func (*showComplaintCmd) Help() string {
	return "What the user and the merchant wrote is shown: it is what this command is for. Masked in it are phone, bank card and " +
		"identity card numbers and openids. The payer's phone number, which comes encrypted, is not decrypted and never shown; neither is " +
		"the openid. -o json prints WeChat Pay's fields with the texts as they are, and without payer_phone and payer_openid. " +
		"What is shown is people's affairs: mind where you keep it."
}

// Run reads the complaint and its whole history.
func (c *showComplaintCmd) Run(a *app, s *showCmd) error {
	q, err := s.open(a)
	if err != nil {
		return err
	}
	complaint, err := q.complaint(a.ctx, c.ID)
	if err != nil {
		return err
	}
	printer{a.out, s.json()}.view(complaint)
	return nil
}

type showRefundCmd struct {
	OutRefundNo string `arg:"" name:"out-refund-no" help:"The merchant's refund number."`
	SubMchID    string `name:"sub-mchid" placeholder:"MCHID" help:"The sub-merchant; service providers need it."`
}

// Help is printed by --help.
func (*showRefundCmd) Help() string {
	return "Asked of the API that the merchant refunds by, v3 or v2; the fields of -o json have the names of v3 in both. The digits of the " +
		"account that the money goes to are masked; -o json prints what WeChat Pay says of it."
}

// Run reads the refund.
func (c *showRefundCmd) Run(a *app, s *showCmd) error {
	q, err := s.open(a)
	if err != nil {
		return err
	}
	refund, err := q.refund(a.ctx, c.OutRefundNo, c.SubMchID)
	if err != nil {
		return err
	}
	printer{a.out, s.json()}.view(refund)
	return nil
}

func (s *showCmd) open(a *app) (*inquiry, error) {
	c, err := loadConfig(a.config, a.nats)
	if err != nil {
		return nil, err
	}
	return a.openInquiry(c, s.MchID)
}
