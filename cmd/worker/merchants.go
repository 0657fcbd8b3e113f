package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/internal/calls"
	"wxpay-worker/internal/metrics"
	"wxpay-worker/internal/opensslkey"
	"wxpay-worker/wxpay"
)

// merchant is one whose commands are carried out, and what its clients were made of.
type merchant struct {
	consumer.Merchant
	made         credentials
	host         func() string       // where its calls go now
	certificates *wxpay.Certificates // by which its answers are verified, nil without platform certificates
}

// workshop makes merchants' clients of WeChat Pay. They share one pool of connections.
type workshop struct {
	config     WechatPayConfig
	transport  *http.Transport
	signing    *signing
	log        logrus.FieldLogger
	calls      calls.Observer                // of all that they call; nil: none
	downloaded func(mchid string, err error) // is told of platform certificates; nil: nobody
}

func newWorkshop(c *Config, roots *x509.CertPool, log logrus.FieldLogger) *workshop {
	transport := wxpay.NewTransport(wxpay.TransportConfig{RootCAs: roots, ConnectTimeout: c.WechatPay.ConnectTimeout})
	return &workshop{config: c.WechatPay, transport: transport, signing: newSigning(), log: log}
}

// newMerchants makes the clients of merchants that nobody watches.
func newMerchants(c *Config, keys []credentials, roots *x509.CertPool, log logrus.FieldLogger) (all []consumer.Merchant, err error) {
	shop := newWorkshop(c, roots, log)
	for i := range keys {
		m, err := shop.merchant(&keys[i])
		if err != nil {
			return nil, err
		}
		all = append(all, m.Merchant)
	}
	return all, nil
}

// merchant makes one merchant's clients. The error is a *exitError that names it.
func (w *workshop) merchant(k *credentials) (*merchant, error) {
	m, err := w.make(k)
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("merchant %s: %w", k.mchID, err)}
	}
	return m, nil
}

func (w *workshop) make(k *credentials) (*merchant, error) {
	signer, err := opensslkey.New(k.signer)
	if err != nil {
		return nil, fmt.Errorf("private key: %w", err)
	}
	config := wxpay.Config{
		MchID: k.mchID, SerialNo: k.serialNo, Signer: w.signing.fair(signer),
		Hosts: w.config.Hosts, Transport: w.transport, Timeout: w.config.Timeout,
	}
	if config.Keys, err = keySource(k, config, w.onDownload(k.mchID)); err != nil {
		return nil, err
	}
	client, err := wxpay.New(config)
	if err != nil {
		return nil, err
	}
	m := &merchant{made: *k, host: client.Host}
	m.certificates, _ = config.Keys.(*wxpay.Certificates)
	m.Merchant = consumer.Merchant{MchID: k.mchID, Refunds: client, Complaints: client, SubMerchants: k.subMerchants, Quota: k.quota}
	if k.v2 != nil {
		v2 := *k.v2
		v2.Hosts, v2.Transport, v2.Timeout = w.config.Hosts, w.transport, w.config.Timeout
		refunds, err := wxpay.NewV2(v2)
		if err != nil {
			return nil, err
		}
		m.Refunds, m.host = refunds, refunds.Host
	}
	if w.calls != nil {
		m.Refunds, m.Complaints = calls.Refunds(m.Refunds, k.mchID, w.calls), calls.Complaints(m.Complaints, k.mchID, w.calls)
	}
	return m, nil
}

// onDownload returns the function that is called after each download of a merchant's platform certificates.
func (w *workshop) onDownload(mchid string) func(error) {
	log := w.log.WithField(fieldMchID, mchid)
	return func(err error) {
		if err != nil {
			log.WithError(err).Error("platform certificates not downloaded; those known before stay in use")
		}
		if w.downloaded != nil {
			w.downloaded(mchid, err)
		}
	}
}

// keySource is what a merchant's answers are verified by: public keys, or platform certificates, or both while it migrates.
func keySource(k *credentials, client wxpay.Config, downloaded func(error)) (wxpay.KeySource, error) {
	if k.apiV3Key == nil {
		return wxpay.NewKeySet(k.publicKeyID, k.publicKeys)
	}
	return wxpay.NewCertificates(wxpay.CertificatesConfig{
		Client: client, APIv3Key: k.apiV3Key, PublicKeys: k.publicKeys, PublicKeyID: k.publicKeyID, Downloaded: downloaded,
	})
}

// watched is what metrics tell of the merchant.
func (m *merchant) watched() metrics.Merchant {
	w := metrics.Merchant{MchID: m.MchID, Host: m.host, Certificates: map[string]func() time.Time{}}
	for what, certificate := range map[string]*x509.Certificate{"merchant": m.made.certificate, "client": m.made.v2Certificate} {
		if certificate != nil {
			w.Certificates[what] = func() time.Time { return certificate.NotAfter }
		}
	}
	if m.certificates != nil {
		w.Certificates["platform"] = m.certificates.Expires
	}
	return w
}

// roster is the merchants of `worker run`. What they are changes by reload only; one goroutine at a time may do that.
type roster struct {
	*workshop
	merchants []*merchant
	metrics   *metrics.Metrics // nil: none

	ctx        context.Context // of the downloads
	cancel     context.CancelFunc
	refreshing map[*wxpay.Certificates]context.CancelFunc
	downloads  sync.WaitGroup
}

// newRoster makes the clients of all, and downloads platform certificates in the background, again and again, until stop.
func newRoster(shop *workshop, keys []credentials, m *metrics.Metrics) (*roster, error) {
	r := &roster{workshop: shop, metrics: m, refreshing: map[*wxpay.Certificates]context.CancelFunc{}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	all, _, err := r.compare(keys)
	if err != nil {
		return nil, err
	}
	r.use(all)
	return r, nil
}

// served is what the consumer needs of them.
func (r *roster) served() (all []consumer.Merchant) {
	for _, m := range r.merchants {
		all = append(all, m.Merchant)
	}
	return all
}

// use makes these the merchants.
func (r *roster) use(all []*merchant) {
	stale := r.refreshing
	r.merchants, r.refreshing = all, map[*wxpay.Certificates]context.CancelFunc{}
	var watched []metrics.Merchant
	for _, m := range all {
		watched = append(watched, m.watched())
		if m.certificates == nil {
			continue
		}
		if stop, running := stale[m.certificates]; running {
			r.refreshing[m.certificates] = stop
			delete(stale, m.certificates)
			continue
		}
		ctx, stop := context.WithCancel(r.ctx)
		r.refreshing[m.certificates] = stop
		r.downloads.Go(func() {
			defer stop()
			_ = m.certificates.Run(ctx) // it ends with ctx and says so; failures are logged where they happen
		})
	}
	for _, stop := range stale {
		stop()
	}
	if r.metrics != nil {
		r.metrics.SetMerchants(watched)
	}
}

// stop ends the downloads.
func (r *roster) stop() {
	r.cancel()
	r.downloads.Wait()
}
