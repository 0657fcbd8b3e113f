package main

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"

	"github.com/sirupsen/logrus"

	"wxpay-worker/consumer"
	"wxpay-worker/wxpay"
)

// reloader makes the running worker's merchants those of the configuration as it is now: at every SIGHUP.
//
// Merchants, their keys and quotas change; all else takes a restart, and is named in the log where it differs. A configuration
// that does not load, or a key file that is not right, changes nothing at all.
type reloader struct {
	app     *app
	running *Config // as it was loaded at the start
	roster  *roster
	worker  *consumer.Consumer
	log     logrus.FieldLogger
}

// start reloads at every signal until ctx ends, or stop is called.
func (r *reloader) start(ctx context.Context, signals <-chan os.Signal) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { r.run(ctx, signals) })
	return func() {
		cancel()
		running.Wait()
	}
}

func (r *reloader) run(ctx context.Context, signals <-chan os.Signal) {
	for {
		select {
		case <-signals:
			err := r.reload()
			if err != nil {
				r.log.WithError(err).Error("configuration not reloaded; the old one stays in use")
			}
			if r.roster.metrics != nil {
				r.roster.metrics.Reloaded(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

func (r *reloader) reload() error {
	c, keys, err := r.app.loadMerchants()
	if err != nil {
		return err
	}
	all, changes, err := r.roster.compare(keys)
	if err != nil {
		return err
	}
	c.warn(r.log)
	r.roster.use(all)
	r.worker.Reload(r.roster.served()) // what is in flight ends with the keys that it began with
	for _, change := range changes {
		entry := r.log.WithField(fieldMchID, change.mchid)
		if len(change.keys) > 0 {
			entry = entry.WithField(fieldKeys, change.keys)
		}
		entry.Info("merchant " + change.what)
	}
	if fixed := r.running.fixedKeys(c); len(fixed) > 0 {
		r.log.WithField(fieldKeys, fixed).Warn("a reload does not change these; restart the worker for that")
	}
	r.log.WithFields(logrus.Fields{fieldMerchants: len(all), fieldChanges: len(changes)}).Info("configuration reloaded")
	return nil
}

// change is what a reload does to one merchant.
type change struct {
	mchid string
	what  string   // "added", "removed" or "changed"
	keys  []string // of the configuration, that have changed, or whose files have
}

// compare makes the merchants of a new configuration, and tells what is different. Clients of those whose credentials are as
// before are kept: they know which host is well and hold the platform certificates. Nothing is changed before use.
func (r *roster) compare(keys []credentials) (all []*merchant, changes []change, err error) {
	old := map[string]*merchant{}
	for _, m := range r.merchants {
		old[m.MchID] = m
	}
	for i := range keys {
		k := &keys[i]
		was, known := old[k.mchID]
		delete(old, k.mchID)
		if !known {
			m, err := r.merchant(k)
			if err != nil {
				return nil, nil, err
			}
			all, changes = append(all, m), append(changes, change{mchid: k.mchID, what: "added"})
			continue
		}
		m, different, err := r.renew(was, k)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, m)
		if len(different) > 0 {
			changes = append(changes, change{k.mchID, "changed", different})
		}
	}
	for _, mchid := range slices.Sorted(maps.Keys(old)) {
		changes = append(changes, change{mchid: mchid, what: "removed"})
	}
	return all, changes, nil
}

// renew returns the merchant with newer credentials, and the keys of the configuration that differ. Its clients are made anew only if they
// were made of one of those.
func (r *roster) renew(was *merchant, k *credentials) (m *merchant, different []string, err error) {
	different = was.made.difference(k)
	if slices.ContainsFunc(different, needsClient) {
		m, err := r.merchant(k)
		return m, different, err
	}
	same := *was
	same.made, same.SubMerchants, same.Quota = *k, k.subMerchants, k.quota
	return &same, different, nil
}

// Keys of a merchant that its clients are not made of.
const (
	keyQuota           = "quota"
	keySubMerchants    = "sub_merchants"
	keyCertificateFile = "certificate_file"
)

func needsClient(key string) bool {
	return key != keyQuota && key != keySubMerchants && key != keyCertificateFile
}

// difference names the keys of the configuration by which one merchant's credentials differ from newer ones of the same
// merchant. It says which, never what they are.
func (k *credentials) difference(n *credentials) (keys []string) {
	differs := func(key string, same bool) {
		if !same {
			keys = append(keys, key)
		}
	}
	differs("serial_no", k.serialNo == n.serialNo)
	differs("private_key_file", k.signer.Equal(n.signer))
	differs("public_keys", k.publicKeyID == n.publicKeyID &&
		maps.EqualFunc(k.publicKeys, n.publicKeys, func(a, b *rsa.PublicKey) bool { return a.Equal(b) }))
	differs("platform_certificates", bytes.Equal(k.apiV3Key, n.apiV3Key))
	differs("refund_api", (k.v2 == nil) == (n.v2 == nil))
	differs("v2", k.v2 == nil || n.v2 == nil || sameV2(k.v2, n.v2))
	differs(keySubMerchants, k.subMerchants == n.subMerchants)
	differs(keyQuota, k.quota == n.quota)
	differs(keyCertificateFile, sameCertificate(k.certificate, n.certificate) && sameCertificate(k.v2Certificate, n.v2Certificate))
	return keys
}

func sameV2(a, b *wxpay.V2Config) bool {
	return a.AppID == b.AppID && a.SubAppID == b.SubAppID && a.SignType == b.SignType && bytes.Equal(a.APIKey, b.APIKey) &&
		sameKeyPair(a.Certificate, b.Certificate)
}

// sameKeyPair compares certificates only: each has one private key.
func sameKeyPair(a, b tls.Certificate) bool {
	return slices.EqualFunc(a.Certificate, b.Certificate, bytes.Equal)
}

func sameCertificate(a, b *x509.Certificate) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Equal(b)
}

// fixedKeys names the keys outside of merchants whose values are others in the newer configuration.
func (c *Config) fixedKeys(newer *Config) (keys []string) {
	var walk func(key string, a, b reflect.Value)
	walk = func(key string, a, b reflect.Value) {
		for _, f := range fields(a) {
			at, was, is := join(key, f.Tag.Get("yaml")), a.FieldByIndex(f.Index), b.FieldByIndex(f.Index)
			switch {
			case at == "merchants":
			case f.Type.Kind() == reflect.Struct:
				walk(at, was, is)
			case !reflect.DeepEqual(was.Interface(), is.Interface()):
				keys = append(keys, at)
			}
		}
	}
	walk("", reflect.ValueOf(c).Elem(), reflect.ValueOf(newer).Elem())
	return keys
}

// loadMerchants reads the configuration and every key that it names. The error is a *exitError.
func (a *app) loadMerchants() (*Config, []credentials, error) {
	c, err := loadConfig(a.config, a.nats)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Merchants) == 0 {
		return nil, nil, noMerchants(c)
	}
	keys, err := c.readMerchants()
	return c, keys, err
}
