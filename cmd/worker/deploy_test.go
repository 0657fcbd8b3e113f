package main

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"
)

// labels name and group Kubernetes objects.
type labels map[string]string

// manifest is what deploy/kubernetes uses of Kubernetes' API. A key that is not here is a typing error, or one more to be checked.
// Source: Kubernetes API v1.34: ConfigMap v1, Deployment apps/v1, PodDisruptionBudget policy/v1.
type manifest struct {
	APIVersion string            `yaml:"apiVersion"`
	Kind       string            `yaml:"kind"`
	Metadata   objectMeta        `yaml:"metadata"`
	Data       map[string]string `yaml:"data"` // of a ConfigMap
	Spec       struct {
		Selector     selector `yaml:"selector"`
		MinAvailable int      `yaml:"minAvailable"` // this and the next of a PodDisruptionBudget; the rest is a Deployment's
		Unhealthy    string   `yaml:"unhealthyPodEvictionPolicy"`
		Replicas     int      `yaml:"replicas"`
		Strategy     struct {
			Type          string `yaml:"type"`
			RollingUpdate struct {
				MaxSurge       int `yaml:"maxSurge"`
				MaxUnavailable int `yaml:"maxUnavailable"`
			} `yaml:"rollingUpdate"`
		} `yaml:"strategy"`
		Template struct {
			Metadata objectMeta `yaml:"metadata"`
			Spec     podSpec    `yaml:"spec"`
		} `yaml:"template"`
	} `yaml:"spec"`
}

type objectMeta struct {
	Name   string `yaml:"name"`
	Labels labels `yaml:"labels"`
}

type selector struct {
	MatchLabels labels `yaml:"matchLabels"`
}

type podSpec struct {
	AutomountServiceAccountToken  *bool `yaml:"automountServiceAccountToken"`
	TerminationGracePeriodSeconds int   `yaml:"terminationGracePeriodSeconds"`
	TopologySpreadConstraints     []struct {
		MaxSkew           int      `yaml:"maxSkew"`
		TopologyKey       string   `yaml:"topologyKey"`
		WhenUnsatisfiable string   `yaml:"whenUnsatisfiable"`
		LabelSelector     selector `yaml:"labelSelector"`
	} `yaml:"topologySpreadConstraints"`
	SecurityContext struct {
		RunAsNonRoot   bool `yaml:"runAsNonRoot"`
		RunAsUser      int  `yaml:"runAsUser"`
		RunAsGroup     int  `yaml:"runAsGroup"`
		FSGroup        int  `yaml:"fsGroup"`
		SeccompProfile struct {
			Type string `yaml:"type"`
		} `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []container `yaml:"containers"`
	Volumes    []struct {
		Name      string `yaml:"name"`
		ConfigMap *struct {
			Name string `yaml:"name"`
		} `yaml:"configMap"`
		Secret *struct {
			SecretName  string `yaml:"secretName"`
			DefaultMode int    `yaml:"defaultMode"`
		} `yaml:"secret"`
	} `yaml:"volumes"`
}

type container struct {
	Name            string   `yaml:"name"`
	Image           string   `yaml:"image"`
	ImagePullPolicy string   `yaml:"imagePullPolicy"`
	Args            []string `yaml:"args"`
	Ports           []struct {
		Name          string `yaml:"name"`
		ContainerPort int    `yaml:"containerPort"`
	} `yaml:"ports"`
	LivenessProbe  probe `yaml:"livenessProbe"`
	ReadinessProbe probe `yaml:"readinessProbe"`
	Resources      struct {
		Requests map[string]string `yaml:"requests"`
		Limits   map[string]string `yaml:"limits"`
	} `yaml:"resources"`
	SecurityContext struct {
		AllowPrivilegeEscalation *bool `yaml:"allowPrivilegeEscalation"`
		ReadOnlyRootFilesystem   bool  `yaml:"readOnlyRootFilesystem"`
		Capabilities             struct {
			Drop []string `yaml:"drop"`
		} `yaml:"capabilities"`
	} `yaml:"securityContext"`
	VolumeMounts []struct {
		Name      string `yaml:"name"`
		MountPath string `yaml:"mountPath"`
		ReadOnly  bool   `yaml:"readOnly"`
	} `yaml:"volumeMounts"`
}

type probe struct {
	HTTPGet struct {
		Path string `yaml:"path"`
		Port string `yaml:"port"`
	} `yaml:"httpGet"`
	PeriodSeconds    int `yaml:"periodSeconds"`
	FailureThreshold int `yaml:"failureThreshold"`
}

func manifests(t *testing.T) map[string]manifest {
	t.Helper()
	d := yaml.NewDecoder(strings.NewReader(readFile(t, "../../deploy/kubernetes/worker.yaml")))
	d.KnownFields(true)
	all := map[string]manifest{}
	for {
		var m manifest
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all[m.APIVersion+" "+m.Kind] = m
	}
}

// TestKubernetes: the manifests fit each other and the program: the configuration loads and names only files that are mounted,
// whoever is stopped has the time to drain, one worker always runs, and none runs with more rights than it needs.
func TestKubernetes(t *testing.T) {
	all := manifests(t)
	deployment, budget, config := all["apps/v1 Deployment"], all["policy/v1 PodDisruptionBudget"], all["v1 ConfigMap"]
	if len(all) != 3 || len(deployment.Spec.Template.Spec.Containers) != 1 {
		t.Fatalf("%d objects", len(all))
	}
	pod, worker := deployment.Spec.Template.Spec, deployment.Spec.Template.Spec.Containers[0]

	c, err := loadConfig(writeFile(t, filepath.Join(t.TempDir(), "worker.yaml"), config.Data["worker.yaml"]), "")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(worker.Args, []string{"run", "--config", "/etc/worker/worker.yaml"}) {
		t.Errorf("args %q", worker.Args)
	}
	m := c.Merchants[0]
	for _, path := range []string{c.NATS.PasswordFile, c.NATS.TLS.CAFile, m.PrivateKeyFile, m.CertificateFile, m.PublicKeys[0].File, "/etc/worker/worker.yaml"} {
		if !slices.ContainsFunc(worker.VolumeMounts, func(v struct {
			Name      string `yaml:"name"`
			MountPath string `yaml:"mountPath"`
			ReadOnly  bool   `yaml:"readOnly"`
		}) bool {
			return v.MountPath == filepath.Dir(path) && v.ReadOnly
		}) {
			t.Errorf("%s is not mounted", path)
		}
	}
	sources := map[string]bool{}
	for _, v := range pod.Volumes {
		sources[v.Name] = v.ConfigMap != nil && v.ConfigMap.Name != "" || v.Secret != nil && v.Secret.SecretName != "" && v.Secret.DefaultMode == 0o440
	}
	for _, v := range worker.VolumeMounts {
		if !sources[v.Name] {
			t.Errorf("volume %s has no source, or is for everybody to read", v.Name)
		}
	}
	if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace < c.Consumer.Drain+15*time.Second {
		t.Errorf("%s to stop, and %s to drain", grace, c.Consumer.Drain)
	}
	for _, p := range []struct {
		probe
		path string
	}{{worker.LivenessProbe, "/healthz"}, {worker.ReadinessProbe, "/readyz"}} {
		if p.HTTPGet.Path != p.path || p.HTTPGet.Port != worker.Ports[0].Name {
			t.Errorf("probe %+v", p)
		}
	}
	if c.HTTP.Listen != ":9464" || worker.Ports[0].ContainerPort != 9464 {
		t.Errorf("listens at %s, port %d", c.HTTP.Listen, worker.Ports[0].ContainerPort)
	}
	own := deployment.Spec.Template.Metadata.Labels
	for _, s := range []selector{deployment.Spec.Selector, budget.Spec.Selector, pod.TopologySpreadConstraints[0].LabelSelector} {
		if len(own) == 0 || !reflect.DeepEqual(s.MatchLabels, own) {
			t.Errorf("selects %v, the pods are %v", s.MatchLabels, own)
		}
	}
	if deployment.Spec.Replicas != 2 || budget.Spec.MinAvailable != 1 || budget.Spec.Unhealthy != "AlwaysAllow" || deployment.Spec.Strategy.RollingUpdate.MaxUnavailable != 0 {
		t.Errorf("workers: %+v, %+v", deployment.Spec, budget.Spec)
	}
	s := worker.SecurityContext
	if no := s.AllowPrivilegeEscalation; no == nil || *no || !s.ReadOnlyRootFilesystem || !slices.Contains(s.Capabilities.Drop, "ALL") || !pod.SecurityContext.RunAsNonRoot || pod.SecurityContext.RunAsUser == 0 {
		t.Errorf("security: %+v, %+v", pod.SecurityContext, s)
	}
	if no := pod.AutomountServiceAccountToken; no == nil || *no || strings.Contains(worker.Image, "/") {
		t.Errorf("a token it does not need, or an image with a registry: %s", worker.Image)
	}
}

// unit reads a systemd unit file: by section and key, the values in order.
func unit(t *testing.T, text string) map[string][]string {
	t.Helper()
	values, section := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "", strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "["):
			section = strings.Trim(line, "[]")
		case !ok:
			t.Fatalf("not KEY=VALUE: %s", line)
		default:
			values[section+"."+key] = append(values[section+"."+key], value)
		}
	}
	return values
}

// TestSystemd: the unit starts what there is, has time to drain, comes back whatever happens, and keeps its secrets; where
// systemd is installed, it says so too.
func TestSystemd(t *testing.T) {
	text := readFile(t, "../../deploy/systemd/worker.service")
	u := unit(t, text)
	for key, want := range map[string]string{
		"Service.ExecStart":  "/usr/local/bin/worker run --config /etc/worker/worker.yaml",
		"Service.ExecReload": "/bin/kill -HUP $MAINPID",
		"Service.Type":       "exec", // the program does not notify
		"Service.Restart":    "always", "Service.DynamicUser": "yes", "Service.ProtectSystem": "strict", "Service.StateDirectory": "worker",
		"Service.LoadCredential": "secret:/etc/worker/secrets", "Service.NoNewPrivileges": "yes", "Unit.StartLimitIntervalSec": "0",
	} {
		if got := u[key]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q, want %s", key, got, want)
		}
	}
	if len(u["Service.RestartPreventExitStatus"]) > 0 {
		t.Error("a worker that panics would not come back: Go's exit code for that is 2, like that of a wrong configuration")
	}
	stop, err := time.ParseDuration(u["Service.TimeoutStopSec"][0])
	if drain := defaultConfig().Consumer.Drain; err != nil || stop < drain+15*time.Second {
		t.Errorf("%s to stop, and %s to drain: %v", stop, drain, err)
	}
	variable, dir, _ := strings.Cut(u["Service.Environment"][0], "=")
	t.Setenv(variable, dir)
	if c, err := loadConfig("testdata/worker.yaml", ""); err != nil || c.NATS.Embedded.Dir != "%S/worker/nats" {
		t.Errorf("%s: the store is in %s, %v", variable, c.NATS.Embedded.Dir, err)
	}
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Log("systemd is not installed here: it was not asked")
		return
	}
	self, err := os.Executable() // stands for the program, which is not installed
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, filepath.Join(t.TempDir(), "worker.service"), strings.Replace(text, "/usr/local/bin/worker", self, 1))
	if out, err := exec.Command(analyze, "verify", "--man=no", file).CombinedOutput(); err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// The number is systemd's own, of 100; a service that nobody hardened has more than 90.
	if help, err := exec.Command(analyze, "--help").Output(); err != nil || !bytes.Contains(help, []byte("--offline")) {
		t.Logf("systemd is older than 250: it was not asked how exposed the service is (%v)", err)
		return
	}
	if out, err := exec.Command(analyze, "security", "--offline=true", "--no-pager", "--threshold=15", file).CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}
