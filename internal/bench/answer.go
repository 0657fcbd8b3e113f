package main

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// answerer is WeChat Pay as far as refunds need it: it answers v3 and v2 over TLS, as fast as it can or after a given time, and
// counts. It judges nothing (wxpaytest does) and remembers no refund, since it must not be what is measured.
//
// What it answers is in the refund's number, <story>-<when it was published, Unix ns>-<serial>.
type answerer struct {
	key    *answerKey
	keyID  string
	apiKey string
	delay  atomic.Int64 // ns between request and answer

	mu   sync.Mutex
	seen map[string][]time.Duration // by story: from publishing to the arrival of the create call here; guarded by mu
	asks int                        // queries; guarded by mu
}

// The stories that a refund's number can tell.
const (
	storyPaid     = "paid"     // accepted, and paid at the first query
	storyRefused  = "refused"  // INVALID_REQUEST: to be asked about a minute later
	storyThrottle = "throttle" // FREQUENCY_LIMITED
	storyDenied   = "denied"   // 401: the lane is held
	storyQueried  = "queried"  // what paid becomes when it is asked about
	storyAbsent   = "absent"   // what refused becomes
	storyHealthy  = "healthy"  // like paid, counted apart
)

// runAnswer is the process: its address on the first line of standard output; then, for each line of standard input, "delay 50ms"
// or "take", which prints what has been seen since the last one. It ends with its input.
func runAnswer(dir string) error {
	files, err := readInstallation(dir)
	if err != nil {
		return err
	}
	a := newAnswerer(files)
	listener, err := a.listen(files.server)
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		what, value, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "delay":
			d, err := time.ParseDuration(value)
			if err != nil {
				return err
			}
			a.delay.Store(int64(d))
			fmt.Println("{}")
		case "take":
			if err := json.NewEncoder(os.Stdout).Encode(a.take()); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

func newAnswerer(files *installation) *answerer {
	return &answerer{key: files.answerKey, keyID: files.keyID, apiKey: files.apiV2Key, seen: map[string][]time.Duration{}}
}

// listen answers whoever connects, until the listener is closed.
func (a *answerer) listen(certificate tls.Certificate) (net.Listener, error) {
	listener, err := tls.Listen("tcp4", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{certificate}, ClientAuth: tls.RequestClientCert, NextProtos: []string{"http/1.1"},
	})
	if err != nil {
		return nil, err
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go a.serve(conn) // ends with the connection
		}
	}()
	return listener, nil
}

// taken is what was seen since the last time.
type taken struct {
	At      time.Time
	Creates int
	Queries int
	Stories map[string]latency
}

func (a *answerer) take() taken {
	a.mu.Lock()
	seen, asks := a.seen, a.asks
	a.seen, a.asks = map[string][]time.Duration{}, 0
	a.mu.Unlock()
	t := taken{At: time.Now(), Queries: asks, Stories: map[string]latency{}}
	for story, all := range seen {
		t.Stories[story] = summarize(all)
		t.Creates += len(all)
	}
	return t
}

// latency is a distribution in few figures.
type latency struct {
	N             int
	P50, P99, Max time.Duration
}

func summarize(all []time.Duration) latency {
	if len(all) == 0 {
		return latency{}
	}
	slices.Sort(all)
	return latency{N: len(all), P50: all[len(all)/2], P99: all[len(all)*99/100], Max: all[len(all)-1]}
}

// request is what of an HTTP request matters here.
type request struct {
	post bool
	path string
	body []byte
}

func (a *answerer) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReaderSize(conn, 16<<10)
	var r request
	var out []byte
	for {
		if err := r.read(in); err != nil {
			return
		}
		out = a.answer(out[:0], &r, time.Now())
		if d := a.delay.Load(); d > 0 {
			time.Sleep(time.Duration(d))
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
	}
}

func (r *request) read(in *bufio.Reader) error {
	line, err := in.ReadSlice('\n')
	if err != nil {
		return err
	}
	parts := bytes.Fields(line)
	if len(parts) != 3 {
		return errors.New("not a request")
	}
	r.post, r.path = string(parts[0]) == "POST", string(parts[1])
	length := 0
	for {
		line, err := in.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= 2 {
			break
		}
		if name, value, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	r.body = slices.Grow(r.body[:0], length)[:length]
	_, err = io.ReadFull(in, r.body)
	return err
}

const (
	pathV3      = "/v3/refund/domestic/refunds"
	pathV2      = "/secapi/pay/refund"
	pathV2Query = "/pay/refundquery"
)

func (a *answerer) answer(out []byte, r *request, now time.Time) []byte {
	switch {
	case r.path == pathV3:
		number := between(r.body, `"out_refund_no":"`, `"`)
		return a.answerV3(out, number, a.arrived(number, now), now)
	case strings.HasPrefix(r.path, pathV3+"/"):
		number, _, _ := strings.Cut(strings.TrimPrefix(r.path, pathV3+"/"), "?")
		return a.answerV3(out, number, a.asked(number), now)
	case r.path == pathV2:
		number := between(r.body, "<out_refund_no>", "</")
		return a.answerV2(out, number, r.body, a.arrived(number, now))
	case r.path == pathV2Query:
		number := between(r.body, "<out_refund_no>", "</")
		return a.answerV2(out, number, r.body, a.asked(number))
	}
	return respond(out, 404, "", nil)
}

// arrived notes a create call and returns its story.
func (a *answerer) arrived(number string, now time.Time) string {
	story, rest, _ := strings.Cut(number, "-")
	nanos, _, _ := strings.Cut(rest, "-")
	published, err := strconv.ParseInt(nanos, 10, 64)
	took := time.Duration(0)
	if err == nil {
		took = time.Duration(now.UnixNano() - published)
	}
	a.mu.Lock()
	a.seen[story] = append(a.seen[story], took)
	a.mu.Unlock()
	return story
}

// asked notes a query and returns its story.
func (a *answerer) asked(number string) string {
	a.mu.Lock()
	a.asks++
	a.mu.Unlock()
	story, _, _ := strings.Cut(number, "-")
	switch story {
	case storyPaid, storyHealthy:
		return storyQueried
	case storyRefused:
		return storyAbsent
	}
	return story
}

func (a *answerer) answerV3(out []byte, number, story string, now time.Time) []byte {
	status, body := 200, ""
	switch story {
	case storyRefused:
		status, body = 400, `{"code":"INVALID_REQUEST","message":"refused"}`
	case storyAbsent:
		status, body = 404, `{"code":"RESOURCE_NOT_EXISTS","message":"no such refund"}`
	case storyThrottle:
		status, body = 429, `{"code":"FREQUENCY_LIMITED","message":"slower"}`
	case storyDenied:
		return respond(out, 401, "", []byte(`{"code":"SIGN_ERROR","message":"wrong key"}`))
	default:
		state := `"status":"PROCESSING"`
		if story == storyQueried {
			state = `"status":"SUCCESS","success_time":"2026-11-21T08:00:00+08:00"`
		}
		body = `{"refund_id":"50300000002026112100000000001","out_refund_no":"` + number + `","transaction_id":"` + transactionOf(number) + `","out_trade_no":"` +
			orderOf(number) + `","channel":"ORIGINAL","user_received_account":"招商银行信用卡0403","create_time":"2026-11-21T08:00:00+08:00",` + state +
			`,"funds_account":"AVAILABLE","amount":{"total":100,"refund":100,"payer_total":100,"payer_refund":100,"settlement_refund":100,` +
			`"settlement_total":100,"discount_refund":0,"currency":"CNY"}}`
	}
	seconds := strconv.FormatInt(now.Unix(), 10)
	const nonce = "5d41402abc4b2a76b9719d911017c592"
	signature := a.key.sign([]byte(seconds + "\n" + nonce + "\n" + body + "\n"))
	signed := "Wechatpay-Nonce: " + nonce + "\r\nWechatpay-Timestamp: " + seconds + "\r\nWechatpay-Serial: " + a.keyID +
		"\r\nWechatpay-Signature: " + base64.StdEncoding.EncodeToString(signature) + "\r\n"
	return respond(out, status, signed, []byte(body))
}

// orderOf is the order that a refund is for: every refund here has one of its own.
func orderOf(outRefundNo string) string {
	_, rest, _ := strings.Cut(outRefundNo, "-")
	return "T" + rest
}

// transactionOf is WeChat Pay's number of that order.
func transactionOf(outRefundNo string) string {
	return "42" + strings.ReplaceAll(orderOf(outRefundNo)[1:], "-", "")
}

func (a *answerer) answerV2(out []byte, number string, request []byte, story string) []byte {
	fields := [][2]string{ // sorted by name, as they are signed
		{"appid", between(request, "<appid>", "</")},
		{"mch_id", between(request, "<mch_id>", "</")},
		{"nonce_str", "5d41402abc4b2a76b9719d911017c592"},
	}
	refusal := map[string]string{storyRefused: "INVALID_REQUEST", storyAbsent: "REFUNDNOTEXIST", storyThrottle: "FREQUENCY_LIMITED", storyDenied: "SIGNERROR"}[story]
	switch {
	case refusal != "":
		fields = append([][2]string{fields[0], {"err_code", refusal}}, fields[1:]...)
		fields = append(fields, [2]string{"result_code", "FAIL"}, [2]string{"return_code", "SUCCESS"})
	case story == storyQueried:
		fields = append(fields, [][2]string{
			{"out_refund_no_0", number}, {"out_trade_no", orderOf(number)}, {"refund_count", "1"}, {"refund_fee_0", "100"},
			{"refund_id_0", "50300000002026112100000000001"}, {"refund_status_0", "SUCCESS"}, {"refund_success_time_0", "2026-11-21 08:00:00"},
			{"result_code", "SUCCESS"}, {"return_code", "SUCCESS"}, {"total_fee", "100"},
			{"transaction_id", transactionOf(number)},
		}...)
	default:
		fields = append(fields, [][2]string{
			{"out_refund_no", number}, {"out_trade_no", orderOf(number)}, {"refund_fee", "100"}, {"refund_id", "50300000002026112100000000001"},
			{"result_code", "SUCCESS"}, {"return_code", "SUCCESS"}, {"total_fee", "100"}, {"transaction_id", transactionOf(number)},
		}...)
	}
	var text, body strings.Builder
	body.WriteString("<xml>")
	for _, f := range fields {
		text.WriteString(f[0] + "=" + f[1] + "&")
		body.WriteString("<" + f[0] + "><![CDATA[" + f[1] + "]]></" + f[0] + ">")
	}
	mac := hmac.New(sha256.New, []byte(a.apiKey))
	mac.Write([]byte(text.String() + "key=" + a.apiKey))
	body.WriteString("<sign>" + strings.ToUpper(hex.EncodeToString(mac.Sum(nil))) + "</sign></xml>")
	return respond(out, 200, "", []byte(body.String()))
}

func respond(out []byte, status int, headers string, body []byte) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(status), 10)
	out = append(out, " .\r\nServer: nginx\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\nConnection: keep-alive\r\n"+
		"Keep-Alive: timeout=8\r\nCache-Control: no-cache, must-revalidate\r\nX-Content-Type-Options: nosniff\r\nRequest-Id: 08C9E2A1B00610A60218C5D4D8552083A9012803\r\n"...)
	out = append(out, headers...)
	out = append(out, "Content-Length: "...)
	out = strconv.AppendInt(out, int64(len(body)), 10)
	return append(append(out, "\r\n\r\n"...), body...)
}

// between returns what stands between two marks, "" if they are not there.
func between(text []byte, before, after string) string {
	_, rest, found := bytes.Cut(text, []byte(before))
	value, _, closed := bytes.Cut(rest, []byte(after))
	if !found || !closed {
		return ""
	}
	return string(value)
}
