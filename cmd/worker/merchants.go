package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"

	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// merchants are those whose commands are carried out, and the platform certificates that their answers are verified by.
type merchants struct {
	all          []consumer.Merchant
	certificates []*wxpay.Certificates
}

// newMerchants makes each merchant's clients of WeChat Pay. They share one pool of connections.
func newMerchants(c *Config, keys []credentials, roots *x509.CertPool, log logrus.FieldLogger) (*merchants, error) {
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: roots, ConnectTimeout: c.WechatPay.ConnectTimeout})
	out := &merchants{}
	for i := range keys {
		if err := out.add(c, &keys[i], transport, log.WithField(fieldMchID, keys[i].mchID)); err != nil {
			return nil, &exitError{exitUsage, fmt.Errorf("merchant %s: %w", keys[i].mchID, err)}
		}
	}
	return out, nil
}

func (m *merchants) add(c *Config, k *credentials, transport *http.Transport, log logrus.FieldLogger) error {
	config := wxpay.Config{
		MchID: k.mchID, SerialNo: k.serialNo, Signer: k.signer,
		Hosts: c.WechatPay.Hosts, Transport: transport, Timeout: c.WechatPay.Timeout,
	}
	var err error
	if config.Keys, err = m.keySource(k, config, log); err != nil {
		return err
	}
	client, err := wxpay.New(config)
	if err != nil {
		return err
	}
	merchant := consumer.Merchant{MchID: k.mchID, Refunds: client, Complaints: client, SubMerchants: k.subMerchants, Quota: k.quota}
	if k.v2 != nil {
		v2 := *k.v2
		v2.Hosts, v2.Transport, v2.Timeout = c.WechatPay.Hosts, transport, c.WechatPay.Timeout
		if merchant.Refunds, err = wxpay.NewV2(v2); err != nil {
			return err
		}
	}
	m.all = append(m.all, merchant)
	return nil
}

// keySource is what a merchant's answers are verified by: public keys, or platform certificates, or both while it migrates.
func (m *merchants) keySource(k *credentials, client wxpay.Config, log logrus.FieldLogger) (wxpay.KeySource, error) {
	if k.apiV3Key == nil {
		return wxpay.NewKeySet(k.publicKeyID, k.publicKeys)
	}
	source, err := wxpay.NewCertificates(wxpay.CertificatesConfig{
		Client: client, APIv3Key: k.apiV3Key, PublicKeys: k.publicKeys, PublicKeyID: k.publicKeyID,
		Downloaded: func(err error) {
			if err != nil {
				log.WithError(err).Error("platform certificates not downloaded; those known before stay in use")
			}
		},
	})
	if err != nil {
		return nil, err
	}
	m.certificates = append(m.certificates, source)
	return source, nil
}

// refresh downloads platform certificates in the background, again and again; stop ends that.
func (m *merchants) refresh(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	for _, source := range m.certificates {
		running.Go(func() { _ = source.Run(ctx) }) // it ends with ctx and says so; failures are logged where they happen
	}
	return func() {
		cancel()
		running.Wait()
	}
}
