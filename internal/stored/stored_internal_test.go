package stored

import (
	"testing"
	"unsafe"

	"github.com/nats-io/nats.go"
)

// Whoever keeps a hundred thousand subjects, as whoever takes a busy lane over may, does not keep the heads of as many messages with them.
func TestASubjectDoesNotKeepItsHead(t *testing.T) {
	t.Parallel()
	header, err := nats.DecodeHeadersMsg([]byte("NATS/1.0\r\nNats-Subject: wxpay.outcome.1.refund.R1.accepted\r\nNats-Sequence: 7\r\n" +
		"Nats-Time-Stamp: 2026-11-28T08:00:00Z\r\n\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	m, err := parse("S", &nats.Msg{Header: header})
	if err != nil || m.Subject != "wxpay.outcome.1.refund.R1.accepted" {
		t.Fatalf("%+v, %v", m, err)
	}
	if unsafe.StringData(m.Subject) == unsafe.StringData(header.Get("Nats-Subject")) {
		t.Error("the subject is a part of the head")
	}
}
