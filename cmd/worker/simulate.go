package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"wxpay-worker/messages"
	"wxpay-worker/wxpay/wxpaytest"
)

type simulateCmd struct {
	Listen    string   `default:"127.0.0.1:8443" placeholder:"HOST:PORT" help:"Where the primary host listens, the other one on the next free port; port 0 takes free ones (${default})."`
	MchID     []string `nonempty:"" name:"mchid" default:"1900000001" sep:"," placeholder:"MCHID" help:"Merchants that may call (${default})."`
	Hostname  []string `sep:"," placeholder:"NAME" help:"Names under which clients reach it, such as a container's; the first one goes into --config-out."`
	ConfigOut string   `placeholder:"FILE" help:"Write a worker configuration for it, with keys beside it."`
	Force     bool     `help:"Let --config-out overwrite files."`
}

// Run simulates WeChat Pay until a signal comes. Unknown orders and complaints come to be when they are first named, and
// refunds are settled when they are first asked about, since nobody could do either from outside.
func (s *simulateCmd) Run(a *app) error {
	if !isHostPort(s.Listen) {
		return usageError("--listen: expected HOST:PORT")
	}
	for _, mchid := range s.MchID {
		if !messages.ValidMchID(mchid) {
			return usageError("--mchid: expected 1 to 32 digits")
		}
	}
	s.MchID = distinct(s.MchID)
	backup, err := nextFree(s.Listen)
	if err != nil {
		return err
	}
	sim, err := wxpaytest.Start(wxpaytest.Options{
		OpenBooks: true, SettleAtOnce: true, Listen: s.Listen, ListenBackup: backup, Hostnames: s.Hostname, KeepRequests: -1,
	})
	if err != nil {
		return fmt.Errorf("start simulator: %w (--listen chooses another address)", err)
	}
	defer sim.Close()
	if err := s.writeConfig(sim); err != nil {
		return err
	}
	fmt.Fprintf(a.out, "WeChat Pay simulator for %s\n  primary %s\n  backup  %s\n", strings.Join(s.MchID, ", "), sim.URL(), sim.BackupURL())
	if s.ConfigOut != "" {
		fmt.Fprintf(a.out, "next: worker run --config %s\n", s.ConfigOut)
	}
	<-a.ctx.Done()
	if v := sim.Violations(); len(v) > 0 {
		fmt.Fprintf(a.err, "worker: requests that no correct client sends:\n  %s\n", strings.Join(v, "\n  "))
	}
	return nil
}

// portsTried is how many ports nextFree tries: more than that in use have a reason that a user should know of.
const portsTried = 100

// nextFree is the first port after that of listen which is free, on the same host.
func nextFree(listen string) (string, error) {
	host, port, err := net.SplitHostPort(listen)
	if err != nil || port == "0" {
		return listen, err
	}
	first, err := strconv.Atoi(port)
	if err != nil {
		return "", err
	}
	for next := first + 1; next <= min(first+portsTried, 65535); next++ {
		address := net.JoinHostPort(host, strconv.Itoa(next))
		if l, err := net.Listen("tcp", address); err == nil {
			return address, l.Close()
		}
	}
	return "", fmt.Errorf("no free port after %s for the backup host (--listen chooses another address)", port)
}

// writeConfig gives each merchant new credentials and writes them down, if there is a place for them.
func (s *simulateCmd) writeConfig(sim *wxpaytest.Server) error {
	return s.writeConfigOf(sim, addMerchants(sim, s.MchID), "")
}

// addMerchants makes merchants known to the simulator.
func addMerchants(sim *wxpaytest.Server, mchids []string) (all []*wxpaytest.Credentials) {
	for _, mchid := range mchids {
		all = append(all, sim.AddMerchant(wxpaytest.Merchant{MchID: mchid}))
	}
	return all
}

// writeConfigOf writes down what the merchants have, if there is a place for it. more goes into the configuration.
func (s *simulateCmd) writeConfigOf(sim *wxpaytest.Server, all []*wxpaytest.Credentials, more string) error {
	files := map[string][]byte{"simulator_ca.pem": sim.CAPEM()}
	var merchants strings.Builder
	for _, c := range all {
		mchid := c.MchID
		files[mchid+"_key.pem"] = c.PrivateKeyPEM()
		files[mchid+"_cert.pem"] = c.CertificatePEM
		files[mchid+"_wxp_pub.pem"] = c.PublicKeyPEM()
		fmt.Fprintf(&merchants, "  - mchid: %[1]q\n    serial_no: %[2]q\n    private_key_file: %[1]s_key.pem\n    certificate_file: %[1]s_cert.pem\n"+
			"    public_keys: [{id: %[3]s, file: %[1]s_wxp_pub.pem}]\n", mchid, c.SerialNo, c.PublicKeyID)
	}
	if s.ConfigOut == "" {
		return nil
	}
	config := fmt.Sprintf("# Written for the WeChat Pay simulator: its merchants, its hosts, its CA. All keys are the simulator's own.\n"+
		"wechatpay:\n  hosts: [%q, %q]\n  ca_file: simulator_ca.pem\nsettlement: {first: 1s} # it settles at the first look\nmerchants:\n%s%s", s.reachable(sim.URL()), s.reachable(sim.BackupURL()), merchants.String(), more)
	return s.write(files, []byte(config))
}

// reachable is a host's URL for those who know this machine by --hostname.
func (s *simulateCmd) reachable(url string) string {
	if len(s.Hostname) == 0 {
		return url
	}
	return "https://" + net.JoinHostPort(s.Hostname[0], url[strings.LastIndexByte(url, ':')+1:])
}

// write writes the configuration last: once it is there, all that it names is.
func (s *simulateCmd) write(files map[string][]byte, config []byte) error {
	dir := filepath.Dir(s.ConfigOut)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("write configuration: %w", err)
	}
	var paths []string
	contents := map[string][]byte{s.ConfigOut: config}
	for name, data := range files {
		path := filepath.Join(dir, name)
		paths, contents[path] = append(paths, path), data
	}
	slices.Sort(paths)
	paths = append(paths, s.ConfigOut)
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil && !s.Force {
			return usageError("--config-out: expected no file %s; --force overwrites it", path)
		}
	}
	for _, path := range paths {
		if err := writeSecret(path, contents[path]); err != nil {
			return fmt.Errorf("write configuration: %w", err)
		}
	}
	return nil
}

// writeSecret writes a file that only its owner can read, all of it or nothing.
func writeSecret(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".worker-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	if _, err := f.Write(data); err != nil {
		f.Close()
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
