package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.yaml.in/yaml/v3"
)

// composeFile is what docker-compose.yml uses of the Compose specification. A key that is not here is a typing error, or one more
// to be checked.
type composeFile struct {
	Services map[string]composeService `yaml:"services"`
	Volumes  map[string]any            `yaml:"volumes"`
	Parts    map[string]any            `yaml:",inline"` // x-…, merged into services
}

type composeService struct {
	Image           string            `yaml:"image"`
	Build           map[string]any    `yaml:"build"`
	Profiles        []string          `yaml:"profiles"`
	Command         []string          `yaml:"command"`
	Environment     map[string]string `yaml:"environment"`
	Volumes         []string          `yaml:"volumes"`
	Tmpfs           []string          `yaml:"tmpfs"`
	Ports           []string          `yaml:"ports"`
	WorkingDir      string            `yaml:"working_dir"`
	NetworkMode     string            `yaml:"network_mode"`
	DependsOn       any               `yaml:"depends_on"`
	Healthcheck     composeHealth     `yaml:"healthcheck"`
	Restart         string            `yaml:"restart"`
	StopGracePeriod string            `yaml:"stop_grace_period"`
	User            string            `yaml:"user"`
	ReadOnly        bool              `yaml:"read_only"`
	CapDrop         []string          `yaml:"cap_drop"`
	SecurityOpt     []string          `yaml:"security_opt"`
	Logging         struct {
		Driver  string            `yaml:"driver"`
		Options map[string]string `yaml:"options"`
	} `yaml:"logging"`
}

type composeHealth struct {
	Test        []string `yaml:"test"`
	Interval    string   `yaml:"interval"`
	Timeout     string   `yaml:"timeout"`
	StartPeriod string   `yaml:"start_period"`
}

func compose(t *testing.T) (c composeFile) {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(readFile(t, "../../docker-compose.yml")))
	d.KnownFields(true)
	if err := d.Decode(&c); err != nil {
		t.Fatal(err)
	}
	return c
}

// passwordFile is what `make up` writes, as variables.
func passwordFile(t *testing.T) map[string]string {
	t.Helper()
	makefile, err := filepath.Abs("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	dir, texts := t.TempDir(), [2]string{}
	for i := range texts {
		if out, err := exec.Command("make", "-C", dir, "-f", makefile, ".env").CombinedOutput(); err != nil {
			t.Fatalf("make .env: %v\n%s", err, out)
		}
		texts[i] = readFile(t, filepath.Join(dir, ".env"))
	}
	if texts[0] != texts[1] {
		t.Error("passwords are made again")
	}
	if info, err := os.Stat(filepath.Join(dir, ".env")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("for whom: %v, %v", info.Mode(), err)
	}
	all, seen := map[string]string{}, map[string]bool{}
	for _, line := range lines(texts[0]) {
		name, value, _ := strings.Cut(line, "=")
		if len(value) < 32 || seen[value] {
			t.Errorf("%s: %d bytes, or the same as another", name, len(value))
		}
		all[name], seen[value] = value, true
	}
	return all
}

// TestCompose: nothing in docker-compose.yml has a right that it does not need, is to be reached from another machine, or is left
// unwatched; each of the program's services has its own user of deploy/nats/secure.conf and the password of nobody else.
func TestCompose(t *testing.T) {
	c := compose(t)
	numeric := regexp.MustCompile(`^[1-9][0-9]*:[0-9]+$`)
	for name, s := range c.Services {
		if !s.ReadOnly || !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges:true"}) || !numeric.MatchString(s.User) {
			t.Errorf("%s has more rights than it needs: %+v", name, s)
		}
		if s.Logging.Options["max-size"] == "" || s.Image == "" {
			t.Errorf("%s: a log without end, or no image", name)
		}
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to others", name, port)
			}
		}
		ends := name == "passwords" || name == "setup" || slices.Contains(s.Profiles, "by-hand")
		if stays := len(s.Healthcheck.Test) > 0 && s.Restart == "unless-stopped"; stays == ends {
			t.Errorf("%s: healthcheck %q, restart %q", name, s.Healthcheck.Test, s.Restart)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			_, known := c.Volumes[source]
			if _, err := os.Stat(filepath.Join("../..", source)); !known && err != nil {
				t.Errorf("%s: %s is not there", name, source)
			}
		}
	}

	for name, role := range map[string]string{"worker-1": "worker", "worker-2": "worker", "setup": "operator", "operator": "operator", "watcher": "watcher", "publisher": publisher} {
		t.Run(name, func(t *testing.T) {
			s := c.Services[name]
			for key, value := range s.Environment {
				t.Setenv(key, value)
			}
			config, err := loadConfig("testdata/worker.yaml", "")
			if err != nil {
				t.Fatal(err)
			}
			account, _, _ := strings.Cut(role, "-") // the folder has no merchant in its name
			password := fmt.Sprintf("password-%s:%s:ro", account, filepath.Dir(config.NATS.PasswordFile))
			if config.NATS.User != role || !slices.Contains(s.Volumes, password) || strings.Count(strings.Join(s.Volumes, " "), "password-") != 1 {
				t.Errorf("user %s with %q, want %s", config.NATS.User, s.Volumes, password)
			}
			if servers := strings.Split(config.NATS.URL, ","); len(servers) != 3 {
				t.Errorf("servers: %q", servers)
			}
			if role == publisher || role == "watcher" {
				return
			}
			if config.NATS.Replicas != 3 {
				t.Errorf("%d copies", config.NATS.Replicas)
			}
			if role == "operator" {
				return
			}
			file := s.Command[len(s.Command)-1]
			if want := []string{"CMD", "/worker", "check", "--ready", "--config", file}; !slices.Equal(s.Healthcheck.Test, want) || s.Command[0] != "run" {
				t.Errorf("%q is well if %q", s.Command, s.Healthcheck.Test)
			}
			if reach, err := reachableHere(config.HTTP.Listen); err != nil || !strings.HasSuffix(s.Ports[0], reach[strings.LastIndex(reach, ":"):]) {
				t.Errorf("listens at %s, published %q", config.HTTP.Listen, s.Ports)
			}
			for _, needed := range []string{"setup", "simulator", "nats-1", "nats-2", "nats-3"} {
				if after, _ := s.DependsOn.(map[string]any); after[needed] == nil {
					t.Errorf("%s may be stopped while the worker drains, or be started after it", needed)
				}
			}
			grace, err := time.ParseDuration(s.StopGracePeriod)
			if err != nil || grace < config.Consumer.Drain+15*time.Second {
				t.Errorf("%s to stop, and %s to drain: %v", grace, config.Consumer.Drain, err)
			}
		})
	}
}

// TestComposePasswords: `make up` makes all that docker-compose.yml asks for, once, and only for its owner; with it, the three NATS
// servers know each other by a password and have the very users and permissions of secure.conf.
func TestComposePasswords(t *testing.T) {
	if out, err := exec.Command("git", "-C", "../..", "check-ignore", ".env").CombinedOutput(); err != nil {
		t.Errorf(".env could be committed: %v %s", err, out)
	}
	passwords := passwordFile(t)
	asked := map[string]bool{}
	for _, m := range regexp.MustCompile(`\$\{([A-Z0-9_]+):\?`).FindAllStringSubmatch(readFile(t, "../../docker-compose.yml"), -1) {
		asked[m[1]] = true
	}
	if made := slices.Sorted(maps.Keys(passwords)); !slices.Equal(made, slices.Sorted(maps.Keys(asked))) {
		t.Errorf("made %q, asked for %q", made, slices.Sorted(maps.Keys(asked)))
	}

	node := compose(t).Services["nats-1"]
	value := regexp.MustCompile(`\$\{([A-Z0-9_]+)[^}]*\}`)
	for name, text := range node.Environment {
		t.Setenv(name, value.ReplaceAllStringFunc(text, func(v string) string { return passwords[value.FindStringSubmatch(v)[1]] }))
	}
	one, err := server.ProcessConfigFile("../../deploy/nats/cluster.conf")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := server.ProcessConfigFile("../../deploy/nats/secure.conf")
	if err != nil {
		t.Fatal(err)
	}
	if !one.SyncAlways || one.HTTPHost != "127.0.0.1" || !slices.Contains(node.Volumes, "nats-1:"+one.StoreDir) || one.Host != secure.Host || one.SystemAccount != secure.SystemAccount {
		t.Errorf("synced: %v, monitored at %s, store in %s", one.SyncAlways, one.HTTPHost, one.StoreDir)
	}
	if want := "http://" + one.HTTPHost + ":" + strconv.Itoa(one.HTTPPort) + "/healthz"; !slices.Contains(node.Healthcheck.Test, want) {
		t.Errorf("health is at %s, asked for %q", want, node.Healthcheck.Test)
	}
	route := passwords["NATS_PASSWORD_ROUTE"]
	if one.Cluster.Username != "route" || one.Cluster.Password != route || len(one.Routes) != 3 {
		t.Errorf("routes: user %s, %d of them", one.Cluster.Username, len(one.Routes))
	}
	for i, r := range one.Routes {
		if p, _ := r.User.Password(); p != route || r.User.Username() != one.Cluster.Username || r.Host != fmt.Sprintf("nats-%d:%d", i+1, one.Cluster.Port) {
			t.Errorf("route %s", r.Redacted())
		}
	}
	if len(one.Users) != len(users) || len(secure.Users) != len(users) {
		t.Fatalf("%d users", len(one.Users))
	}
	for _, u := range one.Users {
		if u.Password != passwords[passwordVariable(u.Username)] || u.Permissions == nil {
			t.Errorf("%s: not the password that was made, or no limits", u.Username)
		}
	}
}
