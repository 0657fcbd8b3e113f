package wxpaytest

import (
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"sync"
)

// RSA keys are slow to make and carry no state, so one process makes each of them once: one for WeChat
// Pay's public key, one for each generation of platform certificates, and for the nth merchant of every server the nth of a pool. Merchants of one server never share.

var weChatPayKey = sync.OnceValue(newKey)

var merchantKeys keyPool

// platformKeys: the nth platform certificate of every merchant has the nth of these, as one public key
// serves all merchants; their serials differ.
var platformKeys keyPool

type keyPool struct {
	mu   sync.Mutex
	keys []func() *rsa.PrivateKey // guarded by mu; each makes its key at the first call
}

func (p *keyPool) get(n int) *rsa.PrivateKey {
	p.mu.Lock()
	for len(p.keys) <= n {
		p.keys = append(p.keys, sync.OnceValue(newKey))
	}
	key := p.keys[n]
	p.mu.Unlock()
	return key()
}

// newKey makes a 2048-bit key. Source: M:4012365342.
func newKey() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(fmt.Sprintf("wxpaytest: make key: %v", err))
	}
	return key
}
