// Command bench measures the worker: the program itself, against a real NATS server and an answering side that costs little, each a
// process of its own. `make bench` runs it.
//
// It asserts nothing. Machines are noisy, so rows that are to be compared are measured in turn, several times, in one run: beside
// the worker stand a naive consumer, which does the least that a queue asks for, a careful one, which keeps the worker's promises with no more
// art than that, and the bare loop, which has no queue. What is printed on the way, and written to -out, is text for benchstat; the table at the
// end shows medians and ranges.
//
// It runs on Linux: what processes take of the machine is read from /proc.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"

	"wxpay-worker/messages"
)

// inFlight is how many commands each row works on at a time: the worker's default.
const inFlight = 64

const (
	apiV3 = "v3"
	apiV2 = "v2"
)

var subjects = messages.Subjects{Prefix: "wxpay"}

// bench is one run.
type bench struct {
	dir        string // everything of this run; removed at its end
	worker     string // binaries
	natsServer string
	repeat     int
	window     time.Duration // how long one throughput row is looked at
	report     *report
	answers    *process
	address    string // of the answering side
	workers    int    // started so far
	profiles   string // where profiles of the throughput rows go; "": none are taken
	rows       *regexp.Regexp
	tags       string // of the worker's build
}

// parts of a run, in their order.
var parts = []struct {
	name    string
	help    string
	measure func(*bench, context.Context) error
}{
	{"machine", "what this machine does: signatures, the answering side's too, and fsyncs", (*bench).machine},
	{"stores", "a refund's two records: one server and three, synced and not, one by one and as an atomic batch", (*bench).stores},
	{"throughput", "commands/s and processor time per command, beside a naive consumer, a careful one and the bare loop", (*bench).throughput},
	{"latency", "from publishing to the request leaving the worker, at half load", (*bench).latency},
	{"start", "from the start of the process to the first outcome", (*bench).start},
	{"neighbours", "a healthy merchant beside one in trouble", (*bench).neighbours},
	{"growth", "with merchants, and with worker processes", (*bench).growth},
	{"steady", "at rates within the quotas, once each second brings as many queries as refunds", (*bench).steady},
	{"long", "a minute and a half without a pause, followed to the end", (*bench).long},
	{"memory", "1,000,000 waiting, 100,000 in back-off, as many followed, 300 merchants", (*bench).memory},
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() error {
	var names []string
	for _, p := range parts {
		names = append(names, p.name)
	}
	only := flag.String("only", strings.Join(names, ","), "which parts")
	out := flag.String("out", filepath.Join("bin", "bench.txt"), "where the text for benchstat goes")
	dir := flag.String("dir", "", "where to work, on the disk that is to be measured (default: a folder of its own in the system's)")
	b := &bench{}
	flag.IntVar(&b.repeat, "repeat", 3, "how often each row is measured")
	flag.DurationVar(&b.window, "window", 4*time.Second, "how long each row is looked at")
	flag.StringVar(&b.profiles, "profile", "", "folder for profiles of worker and NATS server, one for each row of throughput and latency (which then measures the profiler, too), and for its heaps of the part memory")
	flag.StringVar(&b.tags, "tags", "", "what the worker is built with: openssl")
	rows := flag.String("rows", "", "regular expression: only these rows of throughput, latency, neighbours, steady and long")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: go run ./internal/bench [flags]\n\nParts:")
		for _, p := range parts {
			fmt.Fprintf(flag.CommandLine.Output(), "  %-11s %s\n", p.name, p.help)
		}
		fmt.Fprintln(flag.CommandLine.Output())
		flag.PrintDefaults()
	}
	flag.Parse()
	if args := flag.Args(); len(args) > 0 {
		return helper(*dir, args)
	}
	var err error
	if b.rows, err = regexp.Compile(*rows); err != nil {
		return fmt.Errorf("-rows: %w", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	return b.run(ctx, *dir, *out, strings.Split(*only, ","))
}

// helper runs one of the processes that the run starts of itself.
func helper(dir string, args []string) error {
	switch name := args[0]; {
	case name == "answer" && len(args) == 1:
		return runAnswer(dir)
	case name == "bare" && len(args) == 3:
		return runBare(dir, args[1], args[2])
	case (name == byNaive || name == byCareful) && len(args) == 4:
		return runNaive(dir, name, args[1], args[2], args[3])
	case name == "publish" && len(args) == 2:
		return runPublish(args[1])
	}
	return fmt.Errorf("no such helper: %s", strings.Join(args, " "))
}

func (b *bench) run(ctx context.Context, dir, out string, only []string) (err error) {
	if b.dir, err = os.MkdirTemp(dir, "wxpay-bench-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if err := newInstallation(b.dir); err != nil {
		return err
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	text, err := os.Create(out)
	if err != nil {
		return err
	}
	defer text.Close()
	if b.report, err = newReport(text, os.Stdout, header()); err != nil {
		return err
	}
	if b.answers, err = startSelf(b.dir, "answer"); err != nil {
		return err
	}
	address, err := b.answers.out.ReadString('\n')
	if err != nil {
		return fmt.Errorf("start answering side: %w", err)
	}
	b.address = strings.TrimSpace(address)
	for _, p := range parts {
		if !contains(only, p.name) {
			continue
		}
		if err := p.measure(b, ctx); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	b.report.table()
	b.report.ratios()
	return b.answers.end()
}

func contains(all []string, one string) bool {
	for _, s := range all {
		if strings.TrimSpace(s) == one {
			return true
		}
	}
	return false
}

// build builds what users run, and the server that go.mod pins.
func (b *bench) build(ctx context.Context) error {
	b.worker, b.natsServer = filepath.Join(b.dir, "worker"), filepath.Join(b.dir, "nats-server")
	for target, pkg := range map[string]string{b.worker: "wxpay-worker/cmd/worker", b.natsServer: "github.com/nats-io/nats-server/v2"} {
		args, cgo := []string{"build", "-trimpath", "-o", target}, "CGO_ENABLED=0"
		if b.tags != "" && target == b.worker {
			args, cgo = append(args, "-tags", b.tags), "CGO_ENABLED=1"
		}
		cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
		cmd.Env, cmd.Stderr = append(os.Environ(), cgo), os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("build %s: %w", pkg, err)
		}
	}
	return nil
}

// header is what benchstat shows of where the figures come from.
func header() string {
	return fmt.Sprintf("goos: %s\ngoarch: %s\npkg: wxpay-worker/internal/bench\ncpu: %s, %d used\n", runtime.GOOS, runtime.GOARCH, processor(), runtime.NumCPU())
}

// processor is the machine's, as Linux names it.
func processor() string {
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range strings.Lines(string(info)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}
