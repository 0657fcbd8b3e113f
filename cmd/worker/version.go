package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"

	"wxpay-worker/internal/opensslkey"
)

// version is set by the linker (make build). Without it, it is what the Go toolchain says of the module.
var version string

type versionCmd struct{ output }

// versions is what `version -o json` prints.
type versions struct {
	Version    string `json:"version"`
	Commit     string `json:"commit"`
	Go         string `json:"go"`
	NATS       string `json:"nats.go"`
	NATSServer string `json:"nats-server"`
	OpenSSL    string `json:"openssl,omitempty"` // the library that signs, where the program was built for it
}

// Run prints which build this is.
func (c *versionCmd) Run(a *app) error {
	v := thisBuild()
	if c.json() {
		return json.NewEncoder(a.out).Encode(v)
	}
	text := fmt.Sprintf("worker %s\ncommit %s\ngo %s\nnats.go %s\nnats-server %s (embedded)\n", v.Version, v.Commit, v.Go, v.NATS, v.NATSServer)
	if v.OpenSSL != "" {
		text += "signs with " + v.OpenSSL + "\n"
	}
	_, err := io.WriteString(a.out, text)
	return err
}

// thisBuild reads what was stamped into the binary.
func thisBuild() versions {
	v := versions{Version: version, Commit: "unknown", Go: runtime.Version(), NATS: "unknown", NATSServer: "unknown", OpenSSL: opensslkey.Library()}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	v.Version = cmp.Or(v.Version, info.Main.Version, "(devel)")
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/nats-io/nats.go":
			v.NATS = m.Version
		case "github.com/nats-io/nats-server/v2":
			v.NATSServer = m.Version
		}
	}
	modified := ""
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			if s.Value == "true" {
				modified = " (modified)"
			}
		}
	}
	v.Commit += modified
	return v
}
