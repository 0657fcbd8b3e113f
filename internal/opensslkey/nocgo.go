//go:build openssl && !cgo

package opensslkey

// The tag asks for what cannot be had: say so, and do not build something else in silence.
var _ = the_build_tag_openssl_needs_CGO_ENABLED_1
